"""The paper's experiments: Tables 1 to 5 and Figures 1 and 4 to 12."""

from dataclasses import replace

from bench.spec.cells import Cell
from bench.spec.contenders import Suite
from bench.spec.grids.enumeration import LARGEST, MIDDLE, ablations, carries_state, contenders, images, iterates
from bench.spec.grids.registry import grid
from bench.spec.measurements import BUDGETS, AnyCell, in_paper, own_step, published_step
from bench.spec.selection import Selection, protocol
from models.diffusion.allocation import ALLOCATIONS

FIGURE4_ITERATIONS = (1, 2, 3, 5, 6, 8, 12, 18, 26, 33, 38, 54, 68)
TABLE1_ITERATIONS = (1, 2, 3, 5, 8, 12, 26)  # the best FPDM is chosen among them
TABLE5_ITERATIONS = (3, 5, 6, 8, 12, 26)
ABLATION_ITERATIONS = (5, 12)  # Tables 3 and 4: the paper's best at 280 passes, and one nearer to convergence
PREPOST_ITERATIONS = (2, 5)
PREPOST_LAYERS = (0, 1, 2, 4)
TRAINING_ITERATIONS = (3, 6, 12, 24)  # M = N of Table 3
GRADIENT_ITERATIONS = (6, 12)  # N of Table 4
SHOWN_ITERATIONS = 8  # of FPDM's sample grids (Sec. 4.3 on Figure 1)
STRIP_SAMPLES, GRID_SAMPLES, GUIDANCE = 10, 48, 4.0


@grid("Figures 4, 5", "iterations against timesteps, at 140, 280 and 560 block passes; DiT beside it")
def smoothing(suite: Suite, selection: Selection) -> list[AnyCell]:
    """From many steps of few iterations to few steps of many."""
    return [
        *contenders(suite, selection, BUDGETS, FIGURE4_ITERATIONS),
        *images(suite, selection, FIGURE4_ITERATIONS, STRIP_SAMPLES),
    ]


def table1(suite: Suite, selection: Selection) -> list[Cell]:
    """All contenders at three budgets with both samplers of Table 1, in the selection's account."""
    cells = []
    for sampler in ("ddpm", "ddim"):
        cells += contenders(suite, selection, BUDGETS, TABLE1_ITERATIONS, sampler=sampler)
    return cells


@grid("Table 1", "all contenders at three budgets, DDPM and DDIM; parameters, training memory")
def compute(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Quality at equal compute; parameters and memory of the networks."""
    cells: list[AnyCell] = [*table1(suite, selection)]
    for contender in suite.chosen(selection.models):
        if contender.weights_of:
            continue
        cells.append(own_step(suite, contender))
        cells += [published_step(suite, contender)] if in_paper(suite, contender) else []
    return cells


@grid("Table 2", "all contenders at 280 passes, a row for each suite that has results")
def datasets(suite: Suite, selection: Selection) -> list[AnyCell]:
    """One budget on every dataset."""
    return [*contenders(suite, selection, MIDDLE, TABLE1_ITERATIONS)]


@grid("Table 3", "M = N = 3, 6, 12, 24 in training")
def unroll(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Stochastic JFB with different numbers of iterations."""
    variants = [{"n_max": n, "m_max": n} for n in TRAINING_ITERATIONS]
    return [*ablations(suite, selection, variants, MIDDLE, ABLATION_ITERATIONS)]


@grid("Table 4", "1-step, multi-step and stochastic JFB, N = 6 and 12")
def gradients(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Training gradients; M = N, except for JFB, whose M is 1."""
    variants = [
        {"unroll": policy, "n_max": n, "m_max": 1 if policy == "jfb" else n}
        for n in GRADIENT_ITERATIONS
        for policy in ("jfb", "multi-step", "stochastic")
    ]
    return [*ablations(suite, selection, variants, MIDDLE, ABLATION_ITERATIONS)]


@grid("Table 5", "constant, decreasing, increasing, adaptive")
def allocation(suite: Suite, selection: Selection) -> list[AnyCell]:
    """How iterations are shared among the steps."""
    cells: list[AnyCell] = []
    for name in ALLOCATIONS:
        cells += contenders(suite, selection, MIDDLE, TABLE5_ITERATIONS, iterates, allocation=name)
    return cells


@grid("Figure 6a", "with and without starting from the previous step's solution")
def reuse(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Quality with and without reuse."""
    cells: list[AnyCell] = []
    for reused in (True, False):
        cells += contenders(suite, selection, MIDDLE, FIGURE4_ITERATIONS, carries_state, reuse=reused)
    return cells


@grid("Figures 6b, 6c", "residuals by iteration and timestep, with and without reuse")
def convergence(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Residuals of ten batches of 32, at DiT's steps and iterations."""
    batches = replace(protocol(suite, replace(selection, samples=320)), batch_size=32)
    changes = {"measure": "convergence", "protocol": batches}
    cells: list[AnyCell] = []
    for reused in (True, False):
        cells += contenders(suite, selection, LARGEST, (26,), carries_state, reuse=reused, **changes)
    return cells


@grid("Figure 7", "0, 1, 2, 4 pre/post layers over the budgets")
def prepost(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Explicit blocks around the implicit layer."""
    variants = [{"config": {"n_pre": n, "n_post": n}} for n in PREPOST_LAYERS]
    return [*ablations(suite, selection, variants, BUDGETS, PREPOST_ITERATIONS)]


@grid("Figures 1, 8-12", "uncurated samples, with guidance 4.0 (Figure 1) and without")
def samples(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Samples to show."""
    cells: list[AnyCell] = []
    for guidance in (GUIDANCE, 1.0) if suite.baseline.config.num_classes else (1.0,):
        cells += images(suite, selection, (SHOWN_ITERATIONS,), GRID_SAMPLES, guidance)
    return cells
