"""Fixed-point solving: given f and z0, find z with f(z) = z by plain iteration (paper, Sec. 3.1).

A solver is a small frozen object that is called with (f, z0) and returns a `Solution`. The residual of an iteration
is per sample and relative: ||f(z) - z|| / ||f(z)||, the paper's delta_t made comparable across timesteps.
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

    COMPLETED = 0  # ran the number of iterations that was asked for
    CONVERGED = 1  # residual fell to the tolerance
    EXHAUSTED = 2  # reached the iteration limit above the tolerance
    DIVERGED = 3  # produced a value that is not finite


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Attributes:
        z: the last iterate, (batch, ...).
        evaluations: applications of f that each sample's z took, (batch,), int64.
        residuals: residual of each iteration, (iterations, batch); None where they were not asked for. Rows after a
            sample's own convergence repeat its last residual.
        status: a `Status` per sample, (batch,), int64.
    """

    z: Tensor
    evaluations: Tensor
    residuals: Tensor | None
    status: Tensor


class Solver(Protocol):
    """Anything that turns (f, z0) into a Solution."""

    def __call__(self, f: Function, z0: Tensor) -> Solution: ...


def residual(new: Tensor, old: Tensor) -> Tensor:
    """Relative change of each sample, ||new - old|| / ||new||: (batch, ...) twice -> (batch,)."""
    norm = new.detach().flatten(1).norm(dim=1)
    return (new - old).detach().flatten(1).norm(dim=1) / norm.clamp_min(torch.finfo(new.dtype).tiny)


def _per_sample(z: Tensor, value: int) -> Tensor:
    return torch.full((z.shape[0],), value, dtype=torch.int64, device=z.device)


@dataclass(frozen=True)
class FixedCount:
    """Apply f exactly `iterations` times, under the caller's gradient mode.

    Residuals cost two reductions an iteration and are recorded on request only.
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
        status = _per_sample(z, Status.COMPLETED)
        history = None
        if self.record_residuals:
            history = torch.stack(residuals) if residuals else z.new_zeros((0, z.shape[0]))
            status = torch.where(z.flatten(1).isfinite().all(1), status, Status.DIVERGED)
        return Solution(z, _per_sample(z, self.iterations), history, status)


@dataclass(frozen=True)
class Tolerance:
    """Iterate each sample until its residual is at most `tolerance`, `max_iterations` at the latest.

    A converged sample keeps its value, so the result of a sample does not depend on its batch; f still runs on the
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
        return Solution(z, evaluations, torch.stack(history), status)
