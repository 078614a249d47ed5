"""What part of a suite's grids is asked for, and the training runs and protocol that follow from it. No torch."""

from dataclasses import dataclass, replace
from typing import Any

from bench.quality.extractor_weights import extractor_digest
from bench.spec.accounts import ACCOUNTS, Account, Prices
from bench.spec.cells import Protocol, TrainingRun
from bench.spec.datasets import DIGESTS, is_latent
from bench.spec.suites import MODELS, Suite
from bench.store.references import Reference
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class Selection:
    """Which part of a grid, and what of the suite to override. None keeps the suite's or the grid's own.

    `account` says what a budget is counted in. The last two are what the results folder knows, or None
    (`evaluation.calibration`): `prices` calibrate seconds, `reference` is what a latent suite is compared with.
    """

    budgets: tuple[int, ...] | None = None
    models: tuple[str, ...] = MODELS
    samples: int | None = None
    seeds: tuple[int, ...] | None = None
    train_seconds: float | None = None
    train_steps: int | None = None
    account: str = "blocks"
    prices: Prices | None = None
    reference: Reference | None = None

    def __post_init__(self) -> None:
        for name, values in (("--budget", self.budgets), ("--models", self.models), ("--seeds", self.seeds)):
            if values is None:
                continue
            if not values:
                raise BadInputError(f"{name} is empty: give at least one value")
            if len(set(values)) < len(values):
                raise BadInputError(f"{name} {' '.join(map(str, values))} repeats a value: give each once")
        for model in self.models:
            if model not in MODELS:
                raise BadInputError(f"unknown model {model!r} in --models: choose from {', '.join(MODELS)}")
        if self.account not in ACCOUNTS:
            raise BadInputError(f"--account {self.account}: choose one of {', '.join(ACCOUNTS)}")
        if self.budgets is not None and min(self.budgets) < 1:
            raise BadInputError(f"--budget {min(self.budgets)}: must be 1 or more")
        if self.seeds is not None and min(self.seeds) < 0:
            raise BadInputError(f"--seeds {min(self.seeds)}: seeds are 0 or more")
        for name, value in (("--train-seconds", self.train_seconds), ("--train-steps", self.train_steps)):
            if value is not None and not 0 < value < float("inf"):
                raise BadInputError(f"{name} {value:g}: must be more than 0")
        if self.samples is not None and self.samples < 2:
            raise BadInputError(f"--samples {self.samples}: a Frechet distance needs 2 or more")

    @property
    def accounting(self) -> Account:
        """Its account, with prices where there are any."""
        return Account(self.account, self.prices)


def training_run(suite: Suite, model: str, selection: Selection, seed: int = 0) -> TrainingRun:
    """The training of the suite's `model` under the selection's budget."""
    recipe = suite.training
    if selection.train_seconds is not None:
        recipe = replace(recipe, seconds=selection.train_seconds)
    return TrainingRun(suite.name, suite.dataset, model, suite.model(model), recipe, seed, selection.train_steps)


def ablation_run(
    suite: Suite, selection: Selection, seed: int, config: dict[str, Any] | None = None, **recipe: Any
) -> TrainingRun:
    """The fixed-point twin with another configuration or recipe, trained once, with the first replicate's seed.

    Where nothing differs from the suite's own twin it is that twin, with a training seed for each replicate.
    """
    own = training_run(suite, "fpdm", selection, seed)
    if suite.ablation_seconds is not None and selection.train_seconds is None:
        recipe["seconds"] = suite.ablation_seconds
    changed = replace(own, config=replace(own.config, **(config or {})), recipe=replace(own.recipe, **recipe))
    return own if changed == own else replace(changed, seed=replicates(suite, selection)[0])


def replicates(suite: Suite, selection: Selection) -> tuple[int, ...]:
    """The seeds of the replicates (see `EvaluationRecipe.seeds`)."""
    return suite.evaluation.seeds if selection.seeds is None else selection.seeds


def protocol(suite: Suite, selection: Selection) -> Protocol:
    """The suite's protocol at the selection's sample count."""
    recipe = suite.evaluation
    samples = recipe.samples if selection.samples is None else selection.samples
    if not is_latent(suite.dataset):
        digests = extractor_digest(recipe.extractor), DIGESTS[suite.dataset]
    else:
        known = selection.reference
        digests = ("", "") if known is None else (known.extractor_digest, known.identity)
    return Protocol(
        samples=samples,
        batch_size=min(recipe.batch_size, samples),
        extractor=recipe.extractor,
        extractor_digest=digests[0],
        reference_digest=digests[1],
        kid_subsets=recipe.kid_subsets,
        kid_subset_size=min(recipe.kid_subset_size, samples),
        precision=recipe.precision,
    )
