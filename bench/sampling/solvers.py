"""The solver of a cell, and the threshold of adaptive allocation (paper, supplement C)."""

from collections.abc import Callable
from functools import partial

from bench.sampling.sampler import PROBE_SAMPLES, CellSampler
from bench.spec.cells import Cell
from models.diffusion.allocation import find_threshold
from models.fixed_point.anderson import Anderson
from models.fixed_point.broyden import Broyden
from models.fixed_point.solvers import FixedCount, Solver, Tolerance

SOLVERS: dict[str, Callable[..., Solver]] = {"iteration": FixedCount, "anderson": Anderson, "broyden": Broyden}
SAFETY = 0.995  # share of the budget that the search aims at: other samples spend slightly more or less


def solver_of(cell: Cell, sampler: CellSampler, record_residuals: bool = False) -> Callable[[int], Solver]:
    """Function from a step's iterations to its solver. Adaptive allocation ends at a threshold that meets the budget.

    Raises:
        ValueError: unknown solver.
    """
    if cell.allocation == "adaptive":
        threshold = threshold_of(cell, sampler)
        return lambda limit: Tolerance(threshold, limit)
    if cell.solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {cell.solver!r}")
    return partial(SOLVERS[cell.solver], record_residuals=record_residuals)


def threshold_of(cell: Cell, sampler: CellSampler) -> float:
    """The residual at which adaptive allocation ends a step, so that the mean spent meets the cell's budget."""

    def spend(threshold: float) -> float:
        probe = sampler.sample(cell, range(PROBE_SAMPLES), lambda limit: Tolerance(threshold, limit), purpose="probe")
        return probe.taken.double().mean().item()

    return find_threshold(spend, SAFETY * cell.iterations * cell.evaluations)[0]
