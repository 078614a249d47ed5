"""Grids: a suite and a selection -> cells. Pure enumeration, importable without torch, datasets or weights.

Cells that several grids ask for are the same cells: they have one key, are evaluated once, and their runs are trained
once.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

from bench.spec.cells import Cell, TrainingRun
from bench.spec.measurements import (
    BUDGETS,
    AnyCell,
    accelerator_speeds,
    floors,
    footprints,
    own_step,
    published_step,
    speeds,
)
from bench.spec.selection import Selection, ablation_run, protocol, replicates, training_run
from bench.spec.suites import MODELS, Suite
from bench.system.errors import BadInputError
from models.diffusion.allocation import ALLOCATIONS

MIDDLE, LARGEST = (280,), (560,)  # the budgets of most ablations, and of the sample figures
DOUBLE = (1120,)  # where the paper has DiT ahead, without numbers (Sec. 4.3)
FIGURE4_ITERATIONS = (1, 2, 3, 5, 6, 8, 12, 18, 26, 33, 38, 54, 68)
TABLE1_ITERATIONS = (1, 2, 3, 5, 8, 12, 26)  # among which the best FPDM is chosen
TABLE5_ITERATIONS = (3, 5, 6, 8, 12, 26)
ABLATION_ITERATIONS = (5, 12)  # Tables 3 and 4: the paper's best at 280 passes, and one nearer to convergence
PREPOST_ITERATIONS = (2, 5)
PREPOST_LAYERS = (0, 1, 2, 4)
SOLVER_ITERATIONS = (2, 3, 5, 8)
SAMPLER_ITERATIONS = (2, 5)
BEYOND_ITERATIONS = (1, 5, 26, 54)  # at 1120 passes: from 373 steps to 20
TRAINING_ITERATIONS = (3, 6, 12, 24)  # M = N of Table 3
GRADIENT_ITERATIONS = (6, 12)  # N of Table 4
SHOWN_ITERATIONS = 8  # of FPDM's sample grids (Sec. 4.3 on Figure 1)
STRIP_SAMPLES, GRID_SAMPLES, GUIDANCE = 10, 48, 4.0


def _cell(
    suite: Suite, selection: Selection, run: TrainingRun, budget: int, iterations: int, seed: int, **changes: Any
) -> list[Cell]:
    """The cell of a network at a budget, `changes` aside by DDPM with reuse; none if not one step is affordable.

    `iterations` is ignored by a DiT of depth L, which counts as L - 2 between one block before and one after.
    """
    config = run.config
    if config.implicit:
        assert config.n_pre is not None
        assert config.n_post is not None
        n_pre, n_post = config.n_pre, config.n_post
    else:
        n_pre, iterations, n_post = 1, config.depth - 2, 1
    if budget < config.least_passes:
        raise BadInputError(
            f"--budget {budget}: one step of {run.model} takes {config.least_passes} block passes or more"
        )
    if (steps := selection.accounting.steps(suite.dit, budget, config, iterations)) == 0:
        return []
    cell = Cell(
        run=run,
        measure="quality",
        budget=budget,
        n_pre=n_pre,
        iterations=iterations,
        n_post=n_post,
        steps=steps,
        sampler="ddpm",
        solver="iteration",
        reuse=config.implicit,
        allocation="constant",
        seed=seed,
        protocol=protocol(suite, selection),
    )
    return [replace(cell, **changes)]


def _twins(
    suite: Suite,
    selection: Selection,
    budgets: tuple[int, ...],
    iterations: Iterable[int],
    models: tuple[str, ...] = ("dit", "fpdm"),
    **changes: Any,
) -> list[Cell]:
    """The suite's own twins: for each replicate, budget and model the numbers of iterations, or a DiT's one choice."""
    cells = []
    chosen = [model for model in selection.models if model in models]
    for seed, budget, model in product(replicates(suite, selection), selection.budgets or budgets, chosen):
        run = training_run(suite, model, selection, seed)
        for k in iterations if run.config.implicit else (0,):
            cells += _cell(suite, selection, run, budget, k, seed, **changes)
    return cells


def _images(
    suite: Suite, selection: Selection, iterations: Iterable[int], samples: int, guidance: float = 1.0
) -> list[Cell]:
    """Samples to look at, of the first replicate at the largest budget: the same noise and labels in every cell."""
    first = replace(selection, seeds=replicates(suite, selection)[:1])
    channels = suite.fpdm.in_channels
    shown = replace(
        protocol(suite, replace(selection, samples=samples)),
        guidance_scale=guidance,
        guidance_channels=0 if guidance == 1 else min(channels, 3),  # as official DiT: 3 of its 4 latent channels
    )
    budget = max(selection.budgets or LARGEST)
    return _twins(suite, replace(first, budgets=(budget,)), LARGEST, iterations, measure="images", protocol=shown)


def _ablations(
    suite: Suite,
    selection: Selection,
    variants: Iterable[dict[str, Any]],
    budgets: tuple[int, ...],
    iterations: Iterable[int],
) -> list[Cell]:
    """The fixed-point twin trained otherwise: the cells of each variant (arguments of `ablation_run`)."""
    cells = []
    if "fpdm" in selection.models:
        for variant, seed in product(list(variants), replicates(suite, selection)):
            run = ablation_run(suite, selection, seed, **variant)
            for budget, k in product(selection.budgets or budgets, iterations):
                if budget >= run.config.least_passes:
                    cells += _cell(suite, selection, run, budget, k, seed)
    return cells


def smoothing(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Figures 4 and 5: FPDM from many steps of few iterations to few steps of many; DiT at the same budgets."""
    return [
        *_twins(suite, selection, BUDGETS, FIGURE4_ITERATIONS),
        *_images(suite, selection, FIGURE4_ITERATIONS, STRIP_SAMPLES),
    ]


def table1_twins(suite: Suite, selection: Selection) -> list[Cell]:
    """DiT and FPDM at three budgets with both samplers of Table 1, in the selection's account."""
    cells = []
    for sampler in ("ddpm", "ddim"):
        cells += _twins(suite, selection, BUDGETS, TABLE1_ITERATIONS, sampler=sampler)
    return cells


def compute(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 1: DiT and FPDM at three budgets, DDPM and DDIM; parameters and training memory."""
    cells: list[AnyCell] = [*table1_twins(suite, selection)]
    for model in selection.models:
        cells += [own_step(suite, model), published_step(suite, model)]
    return cells


def datasets(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 2: both twins at 280 block passes; the table has a row for each suite with results."""
    return [*_twins(suite, selection, MIDDLE, TABLE1_ITERATIONS)]


def unroll(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 3: stochastic JFB with M = N = 3, 6, 12, 24."""
    variants = [{"n_max": n, "m_max": n} for n in TRAINING_ITERATIONS]
    return [*_ablations(suite, selection, variants, MIDDLE, ABLATION_ITERATIONS)]


def gradients(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 4: JFB, multi-step JFB and stochastic JFB for N = 6 and 12; M = N but for JFB, whose M is 1."""
    variants = [
        {"unroll": policy, "n_max": n, "m_max": 1 if policy == "jfb" else n}
        for n in GRADIENT_ITERATIONS
        for policy in ("jfb", "multi-step", "stochastic")
    ]
    return [*_ablations(suite, selection, variants, MIDDLE, ABLATION_ITERATIONS)]


def allocation(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 5: constant, decreasing, increasing and adaptive allocation."""
    cells: list[AnyCell] = []
    for name in ALLOCATIONS:
        cells += _twins(suite, selection, MIDDLE, TABLE5_ITERATIONS, ("fpdm",), allocation=name)
    return cells


def reuse(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Figure 6a: FPDM with and without starting each step from the solution of the one before."""
    cells: list[AnyCell] = []
    for reused in (True, False):
        cells += _twins(suite, selection, MIDDLE, FIGURE4_ITERATIONS, ("fpdm",), reuse=reused)
    return cells


def convergence(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Figures 6b and 6c: residuals of ten batches of 32, at DiT's steps and iterations, with and without reuse."""
    batches = replace(protocol(suite, replace(selection, samples=320)), batch_size=32)
    cells: list[AnyCell] = []
    for reused in (True, False):
        cells += _twins(
            suite, selection, LARGEST, (26,), ("fpdm",), reuse=reused, measure="convergence", protocol=batches
        )
    return cells


def prepost(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Figure 7: 0, 1, 2 and 4 pre/post layers over the budgets."""
    variants = [{"config": {"n_pre": n, "n_post": n}} for n in PREPOST_LAYERS]
    return [*_ablations(suite, selection, variants, BUDGETS, PREPOST_ITERATIONS)]


def samples(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Figures 1 and 8 to 12: uncurated samples of both twins, with guidance (Figure 1) and without."""
    cells: list[AnyCell] = []
    for guidance in (GUIDANCE, 1.0) if suite.fpdm.num_classes else (1.0,):
        cells += _images(suite, selection, (SHOWN_ITERATIONS,), GRID_SAMPLES, guidance)
    return cells


def solvers(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Beyond the paper: plain iteration, Anderson and Broyden at equal block passes."""
    cells: list[AnyCell] = []
    for solver in ("iteration", "anderson", "broyden"):
        cells += _twins(suite, selection, MIDDLE, SOLVER_ITERATIONS, ("fpdm",), solver=solver)
    return cells


def samplers(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Beyond the paper: is the gain orthogonal to the sampler (Sec. 4.3)? Four samplers at equal budgets."""
    cells: list[AnyCell] = []
    for sampler in ("ddpm", "ddim", "dpm++", "unipc"):
        cells += _twins(suite, selection, BUDGETS, SAMPLER_ITERATIONS, sampler=sampler)
    return cells


def beyond(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Beyond the paper's budgets, where it says that DiT is better (Sec. 4.3, 5.6): both twins, DDPM and DDIM."""
    cells: list[AnyCell] = []
    for sampler in ("ddpm", "ddim"):
        cells += _twins(suite, selection, DOUBLE, BEYOND_ITERATIONS, sampler=sampler)
    return cells


def by_account(suite: Suite, selection: Selection) -> dict[str, list[Cell]]:
    """Table 1's twins in each account, whichever is selected.

    Seconds are left out where they are not calibrated, and budgets below a step of DiT where they are no block passes.
    """
    cells = {"blocks": table1_twins(suite, replace(selection, account="blocks"))}
    if budgets := tuple(budget for budget in selection.budgets or BUDGETS if budget >= suite.dit.depth):
        for account in ("macs", "seconds") if selection.prices else ("macs",):
            cells[account] = table1_twins(suite, replace(selection, account=account, budgets=budgets))
    return cells


def accounts(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Does Table 1 survive the real price? Its twins at what DiT spends in block passes, in MACs and in seconds."""
    return [cell for cells in by_account(suite, selection).values() for cell in cells]


def memory(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 1's memory by precision, checkpointing and FPDM's iterations with gradient; that of sampling beside it."""
    return [cell for model in selection.models for cell in footprints(published_step(suite, model))]


def throughput(suite: Suite, selection: Selection) -> list[AnyCell]:
    """What a block, an iteration, a training step and a sampling run take: the suite's twins, and XL/2 one by one."""
    return [*speeds(suite)] if set(selection.models) == set(MODELS) else []


def accelerator(suite: Suite, selection: Selection) -> list[AnyCell]:
    """The same of XL/2 at batch 64, in three precisions: for a GPU, and no part of "all"."""
    return [*accelerator_speeds(suite)] if set(selection.models) == set(MODELS) else []


class NoCellsError(BadInputError):
    """A grid is empty for the models and budgets that were asked for."""


GRIDS: dict[str, Callable[[Suite, Selection], list[AnyCell]]] = {
    grid.__name__: grid
    for grid in (
        smoothing, compute, datasets, unroll, gradients, allocation, reuse, convergence, prepost, samples, solvers,
        samplers, beyond, accounts, memory, throughput,
    )
}  # fmt: skip
GPU_GRIDS = {accelerator.__name__: accelerator}


def get_cells(grid: str, suite: Suite, selection: Selection) -> list[AnyCell]:
    """The cells of a grid, each once; of "all", those of every grid that has any for the selected models.

    Raises:
        BadInputError: unknown grid, or a budget below one step of a model.
        NoCellsError: nothing in the grid for the selected models and budgets.
    """
    if grid == "all":
        found = [cell for name in GRIDS for cell in GRIDS[name](suite, selection)]
    elif grid in (known := GRIDS | GPU_GRIDS):
        found = known[grid](suite, selection)
    else:
        raise BadInputError(f"unknown grid {grid!r}: choose all or one of {', '.join(known)}")
    if not found:
        asked = " ".join(["--models", *selection.models, *(f"--budget {b}" for b in selection.budgets or ())])
        raise NoCellsError(f"{asked}: grid {grid} has no cells for them")
    if any(cell.measure == "quality" for cell in found):
        found += floors(suite, protocol(suite, selection))
    return list(dict.fromkeys(found))
