"""Grids: a suite and a selection -> cells. Pure enumeration, importable without torch, datasets or weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from bench.cells import Cell, Protocol, TrainingRun
from bench.data import DIGESTS
from bench.errors import BadInputError
from bench.metrics.extractor_weights import extractor_digest
from bench.suites import MODELS, Suite
from models.allocation import affordable_steps

BUDGETS = (140, 280, 560)  # block passes (Table 1): a DiT of 28 blocks takes 5, 10 and 20 steps
FIGURE4_ITERATIONS = (1, 2, 3, 5, 6, 8, 12, 18, 26, 33, 38, 54, 68)


@dataclass(frozen=True)
class Selection:
    """Which part of a grid, and what of the suite to override. None keeps the suite's or the grid's own."""

    budgets: tuple[int, ...] = BUDGETS
    models: tuple[str, ...] = MODELS
    samples: int | None = None
    seeds: tuple[int, ...] = (0,)
    train_seconds: float | None = None
    train_steps: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("--budget", self.budgets), ("--models", self.models), ("--seeds", self.seeds)):
            if not values:
                raise BadInputError(f"{name} is empty: give at least one value")
            if len(set(values)) < len(values):
                raise BadInputError(f"{name} {' '.join(map(str, values))} repeats a value: give each once")
        for model in self.models:
            if model not in MODELS:
                raise BadInputError(f"unknown model {model!r} in --models: choose from {', '.join(MODELS)}")
        if any(budget < 1 for budget in self.budgets):
            raise BadInputError(f"--budget {min(self.budgets)}: must be 1 or more")
        if any(seed < 0 for seed in self.seeds):
            raise BadInputError(f"--seeds {min(self.seeds)}: seeds are 0 or more")
        for name, value in (("--train-seconds", self.train_seconds), ("--train-steps", self.train_steps)):
            if value is not None and not 0 < value < float("inf"):
                raise BadInputError(f"{name} {value:g}: must be more than 0")
        if self.samples is not None and self.samples < 2:
            raise BadInputError(f"--samples {self.samples}: a Frechet distance needs 2 or more")


def training_run(suite: Suite, model: str, selection: Selection, seed: int = 0) -> TrainingRun:
    """The training of the suite's `model` under the selection's budget."""
    recipe = suite.training
    if selection.train_seconds is not None:
        recipe = replace(recipe, seconds=selection.train_seconds)
    return TrainingRun(suite.name, suite.dataset, model, suite.model(model), recipe, seed, selection.train_steps)


def protocol(suite: Suite, selection: Selection) -> Protocol:
    """The suite's protocol at the selection's sample count."""
    recipe = suite.evaluation
    samples = recipe.samples if selection.samples is None else selection.samples
    return Protocol(
        samples=samples,
        batch_size=min(recipe.batch_size, samples),
        extractor=recipe.extractor,
        extractor_digest=extractor_digest(recipe.extractor),
        reference_digest=DIGESTS[suite.dataset],
        kid_subsets=recipe.kid_subsets,
        kid_subset_size=min(recipe.kid_subset_size, samples),
        precision=recipe.precision,
    )


def _cells(suite: Suite, selection: Selection, models: tuple[str, ...], reuses: tuple[bool, ...]) -> list[Cell]:
    """At each budget, every affordable number of iterations of Figure 4, and a DiT's one choice."""
    cells = []
    for seed, budget, model in product(selection.seeds, selection.budgets, models):
        run = training_run(suite, model, selection)
        config = run.config
        if budget < config.least_passes:
            raise BadInputError(
                f"--budget {budget}: one step of {model} takes {config.least_passes} block passes or more"
            )
        if config.n_pre is None or config.n_post is None:
            shapes = [(1, config.depth - 2, 1)]
        else:
            shapes = [(config.n_pre, k, config.n_post) for k in FIGURE4_ITERATIONS]
        for (n_pre, iterations, n_post), reuse in product(shapes, reuses if config.implicit else (False,)):
            steps = affordable_steps(budget, n_pre + iterations + n_post)
            if steps == 0:
                continue
            cells.append(
                Cell(
                    run=run,
                    budget=budget,
                    n_pre=n_pre,
                    iterations=iterations,
                    n_post=n_post,
                    steps=steps,
                    sampler="ddpm",
                    reuse=reuse,
                    allocation="constant",
                    seed=seed,
                    protocol=protocol(suite, selection),
                )
            )
    return cells


def smoothing(suite: Suite, selection: Selection) -> list[Cell]:
    """Figure 4: FPDM from many steps of few iterations to few steps of many, with reuse; DiT at the same budgets."""
    return _cells(suite, selection, selection.models, (True,))


def reuse(suite: Suite, selection: Selection) -> list[Cell]:
    """Figure 6a: FPDM with and without starting each step from the solution of the one before."""
    return _cells(suite, selection, tuple(m for m in selection.models if suite.model(m).implicit), (True, False))


GRIDS: dict[str, Callable[[Suite, Selection], list[Cell]]] = {"smoothing": smoothing, "reuse": reuse}


def get_cells(grid: str, suite: Suite, selection: Selection) -> list[Cell]:
    """The cells of a grid.

    Raises:
        BadInputError: unknown grid, one without cells for the selected models, or a budget below one step of a model.
    """
    if grid not in GRIDS:
        raise BadInputError(f"unknown grid {grid!r}: choose one of {', '.join(GRIDS)}")
    if not (cells := GRIDS[grid](suite, selection)):
        raise BadInputError(f"--models {' '.join(selection.models)}: grid {grid} has no cells for them")
    return cells
