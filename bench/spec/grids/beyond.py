"""Experiments that the paper does not have."""

from dataclasses import replace

from bench.spec.cells import Cell
from bench.spec.contenders import Suite
from bench.spec.grids.enumeration import MIDDLE, contenders, iterates
from bench.spec.grids.paper import table1
from bench.spec.grids.registry import grid
from bench.spec.measurements import (
    BUDGETS,
    AnyCell,
    accelerator_speeds,
    footprints,
    in_paper,
    published_step,
    speeds,
)
from bench.spec.selection import Selection
from models.diffusion.samplers import SAMPLERS

PANEL_ITERATIONS = (5,)
PANEL_SEEDS = 3  # sampling seeds of each training
PANEL_APART = 2000  # between the sampling seeds of a training: no replicate has them but the first
DOUBLE = (1120,)  # the paper says, without numbers, that DiT is better there (Sec. 4.3)
SOLVER_ITERATIONS = (2, 3, 5, 8)
SAMPLER_ITERATIONS = (2, 5)
BEYOND_ITERATIONS = (1, 5, 26, 54)  # at 1120 passes: from 373 steps to 20


@grid("beyond the paper", "plain iteration, Anderson, Broyden at equal block passes")
def solvers(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Solvers of the fixed point."""
    cells: list[AnyCell] = []
    for solver in ("iteration", "anderson", "broyden"):
        cells += contenders(suite, selection, MIDDLE, SOLVER_ITERATIONS, iterates, solver=solver)
    return cells


@grid("beyond the paper", "every sampler at equal budgets, Euler and Heun among them")
def samplers(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Whether the gain is orthogonal to the sampler (Sec. 4.3)."""
    cells: list[AnyCell] = []
    for sampler in SAMPLERS:
        cells += contenders(suite, selection, BUDGETS, SAMPLER_ITERATIONS, sampler=sampler)
    return cells


@grid("Sec. 4.3", "all contenders at 1120 passes, DDPM and DDIM")
def beyond(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Beyond the paper's budgets, where it says that DiT is better (Sec. 4.3, 5.6)."""
    cells: list[AnyCell] = []
    for sampler in ("ddpm", "ddim"):
        cells += contenders(suite, selection, DOUBLE, BEYOND_ITERATIONS, sampler=sampler)
    return cells


@grid("beyond the paper", "DiT and FPDM at 280 passes: each training with three sampling seeds")
def panel(suite: Suite, selection: Selection) -> list[AnyCell]:
    """The spread of quality between trainings, and between sampling seeds of one training."""
    budget = (selection.budgets or MIDDLE)[:1]
    twins = replace(selection, models=(suite.baseline_name, suite.subject_name), budgets=budget)
    chosen = suite.chosen(selection.models)
    if suite.baseline not in chosen or suite.subject not in chosen:
        return []
    once = contenders(suite, twins, MIDDLE, PANEL_ITERATIONS)
    return [replace(cell, seed=cell.seed + i * PANEL_APART) for i in range(PANEL_SEEDS) for cell in once]


def by_account(suite: Suite, selection: Selection) -> dict[str, list[Cell]]:
    """Table 1's cells in each account, whichever is selected.

    Seconds are left out if they are not calibrated, and in seconds the contenders that the calibration does not cover.
    MACs and seconds leave out budgets below a step of the baseline.
    """
    cells = {"blocks": table1(suite, replace(selection, account="blocks"))}
    least = suite.baseline.family.least_passes(suite.baseline.config)
    if budgets := tuple(budget for budget in selection.budgets or BUDGETS if budget >= least):
        cells["macs"] = table1(suite, replace(selection, account="macs", budgets=budgets))
        chosen, prices = suite.chosen(selection.models), selection.prices
        if priced := tuple(one.name for one in chosen if prices is not None and prices.covers(one.config)):
            cells["seconds"] = table1(suite, replace(selection, account="seconds", budgets=budgets, models=priced))
    return cells


@grid("beyond the paper", "Table 1 at equal block passes, equal MACs and equal seconds")
def accounts(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Whether Table 1 holds at equal MACs and equal seconds."""
    return [cell for cells in by_account(suite, selection).values() for cell in cells]


@grid("Table 1", "training and sampling memory at XL/2 by part: dtype, checkpointing, m; no weights needed")
def memory(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Table 1's memory in more settings."""
    chosen = (one for one in suite.chosen(selection.models) if in_paper(suite, one))
    return [cell for contender in chosen for cell in footprints(published_step(suite, contender))]


def _both(suite: Suite, selection: Selection) -> bool:
    """Whether both networks of the paper are selected: they are timed side by side."""
    return {suite.baseline, suite.subject} <= {*suite.chosen(selection.models)}


@grid("beyond the paper", "seconds of blocks, iterations, training steps and sampling runs, timed side by side")
def throughput(suite: Suite, selection: Selection) -> list[AnyCell]:
    """The suite's networks and XL/2, one image at once; eager and compiled."""
    return [*speeds(suite)] if _both(suite, selection) else []


@grid("beyond the paper", "seconds as in `throughput`, for XL/2 at batch 64 in three dtypes", gpu=True)
def accelerator(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Speed on a GPU."""
    return [*accelerator_speeds(suite)] if _both(suite, selection) else []
