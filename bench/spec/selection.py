"""Selection of a part of a suite's grids, and the training runs and protocol that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.spec.accounts import ACCOUNTS, Account, Prices
from bench.spec.cells import Protocol, TrainingRun
from bench.spec.contenders import SAMPLING_DTYPES, Contender, Suite
from bench.spec.datasets import get_dataset
from bench.spec.extractors import get_extractor
from bench.spec.reference import Reference
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class Selection:
    """Part of a grid, and settings instead of the suite's. None keeps the suite's or the grid's own.

    Attributes:
        budgets: block passes per image of the baseline.
        models: names of contenders; None for those that take part in the grid by default.
        samples: generated images a cell.
        seeds: the replicates.
        train_seconds, train_steps: training budget.
        account: currency of budgets.
        prices: calibrated seconds, if the results folder has them.
        reference: reference of a latent suite, if the results folder has one.
        second: reference in the features of the suite's second extractor, if that is to measure too.
        dtype: arithmetic of sampling.

    Raises:
        BadInputError: an invalid value.
    """

    budgets: tuple[int, ...] | None = None
    models: tuple[str, ...] | None = None
    samples: int | None = None
    seeds: tuple[int, ...] | None = None
    train_seconds: float | None = None
    train_steps: int | None = None
    account: str = "blocks"
    prices: Prices | None = None
    reference: Reference | None = None
    second: Reference | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        listed: dict[str, tuple[Any, ...] | None] = {
            "--budget": self.budgets,
            "--models": self.models,
            "--seeds": self.seeds,
        }
        for name, values in listed.items():
            if values is None:
                continue
            if not values:
                raise BadInputError(f"{name} is empty: give at least one value")
            if len(set(values)) < len(values):
                raise BadInputError(f"{name} {' '.join(map(str, values))} repeats a value: give each once")
        if self.account not in ACCOUNTS:
            raise BadInputError(f"--account {self.account}: choose one of {', '.join(ACCOUNTS)}")
        if self.dtype is not None and self.dtype not in SAMPLING_DTYPES:
            raise BadInputError(f"--dtype {self.dtype}: choose one of {', '.join(SAMPLING_DTYPES)}")
        if self.budgets is not None and min(self.budgets) < 1:
            raise BadInputError(f"--budget {min(self.budgets)}: must be 1 or more")
        if self.seeds is not None and min(self.seeds) < 0:
            raise BadInputError(f"--seeds {min(self.seeds)}: seeds are 0 or more")
        for name, value in (("--train-seconds", self.train_seconds), ("--train-steps", self.train_steps)):
            if value is not None and not 0 < value < float("inf"):
                raise BadInputError(f"{name} {value:g}: must be more than 0")
        if self.train_seconds is not None and self.train_steps is not None:
            raise BadInputError(
                f"--train-seconds {self.train_seconds:g} --train-steps {self.train_steps}: a training has one budget; "
                "give one of them"
            )
        if self.samples is not None and self.samples < 2:
            raise BadInputError(f"--samples {self.samples}: a Frechet distance needs 2 or more")

    @property
    def accounting(self) -> Account:
        """The account, with prices if there are any."""
        return Account(self.account, self.prices)


def training_run(suite: Suite, contender: Contender, selection: Selection, seed: int = 0) -> TrainingRun:
    """The training of a contender's weights under the selection's budget."""
    trained, steps = suite.trained(contender), selection.train_steps
    recipe = trained.recipe
    if selection.train_seconds is not None:
        recipe = replace(recipe, seconds=selection.train_seconds)
    if trained.elsewhere:  # one training, whose seed nobody knows
        seed, steps = 0, None
    run = TrainingRun(suite.name, suite.dataset, trained.name, trained.config, recipe, seed, steps)
    return replace(run, elsewhere=trained.elsewhere)


def ablation_run(
    suite: Suite, selection: Selection, seed: int, config: Mapping[str, Any] | None = None, **recipe: Any
) -> TrainingRun:
    """The training of the suite's subject with another configuration or recipe; its own, if nothing differs."""
    own = training_run(suite, suite.subject, selection, seed)
    if suite.ablation_seconds is not None and selection.train_seconds is None and selection.train_steps is None:
        recipe["seconds"] = suite.ablation_seconds
    return replace(own, config=replace(own.config, **(config or {})), recipe=replace(own.recipe, **recipe))


def for_ablations(suite: Suite, selection: Selection) -> Selection:
    """The selection with the replicates that ablations have."""
    return replace(selection, seeds=replicates(suite, selection)[: suite.ablation_trainings])


def replicates(suite: Suite, selection: Selection) -> tuple[int, ...]:
    """The seeds of the replicates (see `EvaluationRecipe.seeds`)."""
    return suite.evaluation.seeds if selection.seeds is None else selection.seeds


def protocol(suite: Suite, selection: Selection) -> Protocol:
    """The suite's protocol with the selection's sample count, dtype and second extractor."""
    recipe = suite.evaluation
    samples = recipe.samples if selection.samples is None else selection.samples
    dataset = get_dataset(suite.dataset)
    if not dataset.is_latent:
        digests = recipe.extractor_digest or get_extractor(recipe.extractor).digest, dataset.digest
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
        dtype=selection.dtype or recipe.dtype,
        second=selection.second.of_second(recipe.second_extractor) if selection.second else None,
    )
