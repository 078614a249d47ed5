"""Accelerated fixed-point solving: the same f, the same number of applications, a better guess after each.

With g(z) = f(z) - z, plain iteration is z <- z + g(z). Both methods here learn a correction from the past iterations,

    Anderson    z <- f(z) - sum_j w_j df_j,    w = argmin ||g(z) - sum_j w_j dg_j||^2 + ridge ||w||^2
    Broyden     z <- z - H g(z),               H <- H + (s - H y) s^T H / (s^T H y),    H = -I at first

where df_j, dg_j are differences of successive f(z) and g(z), both divided by ||dg_j||, and s, y the latest differences
of z and g(z). The first step of either is plain iteration, and f is applied `iterations` times, no more and no less:
equal counts are equal block passes. What a step adds to that is a few passes over z for each past iteration it uses.

Every sample solves for itself: its result does not depend on its batch. Inner products are written as sums, since
autocast and TF32 would round a matrix product. For sampling: no gradient is meant to flow.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.fixed_point.solvers import Function, Solution, Status, residual

LEAST_PIVOT = 1e-3  # of |s^T H y| / s^T s; below it Broyden's update, which stretches by the inverse, is left out


def _at_least_float32(z: Tensor) -> Tensor:
    """Under autocast f may answer in half precision, in which differences of iterates are mostly rounding."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample: (batch, ...) twice -> (batch, 1, ..., 1)."""
    return (a * b).sum(dim=tuple(range(1, a.dim())), keepdim=True)


def _lost_in_rounding(square: Tensor, new: Tensor) -> Tensor:
    """Whether a difference of norm^2 `square` is only the rounding of `new` = f(z), and so says nothing about f."""
    limits = torch.finfo(new.dtype)
    return square <= (_dot(new, new) * limits.eps**2).clamp_min(limits.tiny)


def _solution(z: Tensor, iterations: int, residuals: list[Tensor]) -> Solution:
    """As `FixedCount` reports: whether z is finite is looked at only where residuals were recorded."""
    status = torch.full((z.shape[0],), Status.COMPLETED, dtype=torch.int64, device=z.device)
    evaluations = torch.full_like(status, iterations)
    if residuals:
        status = torch.where(z.flatten(1).isfinite().all(1), status, Status.DIVERGED)
    return Solution(z, evaluations, torch.stack(residuals) if residuals else None, status)


@dataclass(frozen=True)
class Anderson:
    """Anderson acceleration of type II, undamped (Anderson 1965; Walker & Ni 2011).

    Takes f and z0 (batch, ...). `iterations` counts applications of f, `memory` the differences kept, the newest ones.
    `ridge` bounds the weights of nearly dependent differences; it is relative, the differences having length 1.
    """

    iterations: int
    memory: int = 5
    ridge: float = 1e-4
    record_residuals: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.memory < 1 or self.ridge < 0:
            raise ValueError(f"need iterations >= 1, memory >= 1 and ridge >= 0, got {self}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        z, residuals = _at_least_float32(z0), []
        batch, slots = z.shape[0], min(self.memory, self.iterations - 1)
        df, dg = z.new_empty(2, batch, slots, z.flatten(1).shape[1])
        gram = z.new_empty(batch, slots, slots)
        ridge = max(self.ridge, slots * torch.finfo(z.dtype).eps)  # at least what rounding does to gram
        new_before = g_before = z
        for k in range(self.iterations):
            new = _at_least_float32(f(z))
            if self.record_residuals:
                residuals.append(residual(new, z))
            g, z = new - z, new
            if k > 0:
                slot, used = (k - 1) % slots, min(k, slots)
                change = g - g_before
                square = _dot(change, change)
                # A column of zeros gets weight zero: at the fixed point this is plain iteration.
                scale = square.rsqrt().masked_fill(_lost_in_rounding(square, new), 0.0)
                df[:, slot] = ((new - new_before) * scale).flatten(1)
                dg[:, slot] = (change * scale).flatten(1)
                gram[:, slot, :used] = gram[:, :used, slot] = (dg[:, :used] * dg[:, slot, None]).sum(-1)
                target = (dg[:, :used] * g.flatten(1)[:, None]).sum(-1)
                normal = gram[:, :used, :used] + ridge * torch.eye(used, dtype=z.dtype, device=z.device)
                # solve_ex: a diverged sample must not raise, nor the check for it make the host wait.
                weights = torch.linalg.solve_ex(normal, target).result
                z = new - (df[:, :used] * weights[..., None]).sum(1).view_as(new)
            new_before, g_before = new, g
        return _solution(z, self.iterations, residuals)


@dataclass(frozen=True)
class Broyden:
    """Broyden's good method on g(z) = 0 (Broyden 1965), the inverse Jacobian H kept as rank-one factors.

    By Sherman-Morrison an update is H <- (I + u s^T) H with u = s' / s^T s, where s' = -H g is the next step, by the
    new H (Kelley 1995, Sec. 7.3). The steps are thus all there is to keep: `iterations` times the size of z.
    Takes f and z0 (batch, ...). `iterations` counts applications of f.
    """

    iterations: int
    record_residuals: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, got {self.iterations}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        z, residuals = _at_least_float32(z0), []
        steps: list[Tensor] = []
        inverses: list[Tensor] = []  # 1 / s^T s of each step, 0 where the update is left out
        for k in range(self.iterations):
            new = _at_least_float32(f(z))
            if self.record_residuals:
                residuals.append(residual(new, z))
            step = g = new - z
            for s, s_next, inverse in zip(steps, steps[1:], inverses, strict=False):
                step = step + s_next * (inverse * _dot(s, step))
            if k > 0:  # s' solves s' = step + s' (s^T step) / s^T s
                square = _dot(steps[-1], steps[-1])
                pivot = 1 - _dot(steps[-1], step) / square
                skip = _lost_in_rounding(square, new) | (pivot.abs() < LEAST_PIVOT)
                inverses.append((1 / square).masked_fill(skip, 0.0))
                step = step / pivot.masked_fill(skip, 1.0)
            steps.append(step)
            z = new + (step - g)  # rather than z + step: the first step is f(z0) to the last bit
        return _solution(z, self.iterations, residuals)
