"""Fixed-point solving by plain iteration: given f and z0, find z with f(z) = z (paper, Sec. 3.1).

A solver is a frozen dataclass that is called with (f, z0) and returns a `Solution`. The residual of an iteration is
relative and per sample: ||f(z) - z|| / ||f(z)||. Unlike the paper's delta_t it can be compared across timesteps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class Status(IntEnum):
    """How the solving of one sample ended."""

    COMPLETED = 0  # ran the requested number of iterations
    CONVERGED = 1  # its residual fell to the tolerance
    EXHAUSTED = 2  # reached the iteration limit with a residual above the tolerance
    DIVERGED = 3  # produced a value that is not finite


@dataclass(frozen=True)
class Solution:
    """The result of a solver.

    Attributes:
        z: the last iterate, (batch, ...).
        evaluations: how many applications of f led to each sample's z, (batch,), int64.
        residuals: residual of each iteration, (iterations, batch), or None if the solver does not record them. After a
            sample has converged, its last residual is repeated.
        status: a `Status` per sample, (batch,), int64.
        executed: how many times f ran on the batch: until its last sample was done.
    """

    z: Tensor
    evaluations: Tensor
    residuals: Tensor | None
    status: Tensor
    executed: int


class Solver(Protocol):
    """A callable that turns f and z0 (batch, ...) into a Solution."""

    def __call__(self, f: Function, z0: Tensor) -> Solution: ...


def residual(new: Tensor, old: Tensor) -> Tensor:
    """Relative change of each sample, ||new - old|| / ||new||: (batch, ...) twice -> (batch,)."""
    norm = new.detach().flatten(1).norm(dim=1)
    return (new - old).detach().flatten(1).norm(dim=1) / norm.clamp_min(torch.finfo(new.dtype).tiny)


def completed(z: Tensor, iterations: int, residuals: list[Tensor] | None) -> Solution:
    """The Solution of a solver that applied f `iterations` times to every sample.

    Args:
        z: the last iterate, (batch, ...).
        iterations: how many times f was applied.
        residuals: (batch,) for each iteration, or None if they were not recorded. Only if they were is z checked for
            values that are not finite: on a GPU the check would otherwise cost time in every step.
    """
    evaluations, status = _per_sample(z, iterations), _per_sample(z, Status.COMPLETED)
    history = None
    if residuals is not None:
        history = torch.stack(residuals) if residuals else z.new_zeros((0, z.shape[0]))
        status = torch.where(z.flatten(1).isfinite().all(1), status, Status.DIVERGED)
    return Solution(z, evaluations, history, status, iterations)


def _per_sample(z: Tensor, value: int) -> Tensor:
    return torch.full((z.shape[0],), value, dtype=torch.int64, device=z.device)


@dataclass(frozen=True)
class FixedCount:
    """Apply f exactly `iterations` times, under the caller's gradient mode.

    Recording residuals costs two reductions an iteration.
    """

    iterations: int
    record_residuals: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"iterations must be 0 or more, got {self.iterations}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        z, residuals = z0, []
        for _ in range(self.iterations):
            old, z = z, f(z)
            if self.record_residuals:
                residuals.append(residual(z, old))
        return completed(z, self.iterations, residuals if self.record_residuals else None)


def as_solver(iterations: int | Solver) -> Solver:
    """The solver itself, or the one that runs exactly this number of iterations."""
    return FixedCount(iterations) if isinstance(iterations, int) else iterations


@dataclass(frozen=True)
class Tolerance:
    """Iterate each sample until its residual is at most `tolerance`, but at most `max_iterations` times.

    A converged sample keeps its value, so the result of a sample does not depend on its batch. f still runs on the
    whole batch until the last sample is done.
    """

    tolerance: float
    max_iterations: int

    def __post_init__(self) -> None:
        if self.max_iterations < 1 or self.tolerance < 0:
            raise ValueError(f"need max_iterations >= 1 and tolerance >= 0, got {self}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        z = z0
        active = torch.ones(z.shape[0], dtype=torch.bool, device=z.device)
        evaluations, status = _per_sample(z, 0), _per_sample(z, Status.EXHAUSTED)
        last = torch.full((z.shape[0],), torch.inf, dtype=z.dtype, device=z.device)
        history = []
        for _ in range(self.max_iterations):
            proposal = f(z)
            change = residual(proposal, z)
            broken = ~proposal.flatten(1).isfinite().all(1)
            z = torch.where(active.view(-1, *[1] * (z.dim() - 1)), proposal, z)
            last = torch.where(active, change, last)
            evaluations += active
            history.append(last)
            status = torch.where(active & broken, Status.DIVERGED, status)
            status = torch.where(active & ~broken & (change <= self.tolerance), Status.CONVERGED, status)
            active = status == Status.EXHAUSTED
            if not active.any():
                break
        return Solution(z, evaluations, torch.stack(history), status, len(history))
