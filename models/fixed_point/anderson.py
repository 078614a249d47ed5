"""Anderson acceleration: a weighted combination of the past iterates in place of the newest one.

With g(z) = f(z) - z,

    z <- f(z) - sum_j w_j df_j,    w = argmin ||g(z) - sum_j w_j dg_j||^2 + ridge ||w||^2

where df_j and dg_j are differences of successive f(z) and g(z), both divided by ||dg_j||. The first step is plain
iteration. See `acceleration` for what Anderson and Broyden have in common.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.fixed_point.acceleration import at_least_float32, dot, lost_in_rounding
from models.fixed_point.solvers import Function, Solution, completed, residual


@dataclass(frozen=True)
class Anderson:
    """Anderson acceleration of type II, undamped (Anderson 1965; Walker & Ni 2011).

    Args:
        iterations: applications of f.
        memory: how many of the newest differences are kept.
        ridge: bounds the weights of nearly dependent differences. It is relative: the differences have length 1.
        record_residuals: record the residual of each iteration.
    """

    iterations: int
    memory: int = 5
    ridge: float = 1e-4
    record_residuals: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.memory < 1 or self.ridge < 0:
            raise ValueError(f"need iterations >= 1, memory >= 1 and ridge >= 0, got {self}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        z, residuals = at_least_float32(z0), []
        batch, slots = z.shape[0], min(self.memory, self.iterations - 1)
        df, dg = z.new_empty(2, batch, slots, z.flatten(1).shape[1])
        gram = z.new_empty(batch, slots, slots)
        ridge = max(self.ridge, slots * torch.finfo(z.dtype).eps)  # at least the rounding error of gram
        new_before = g_before = z
        for k in range(self.iterations):
            new = at_least_float32(f(z))
            if self.record_residuals:
                residuals.append(residual(new, z))
            g, z = new - z, new
            if k > 0:
                slot, used = (k - 1) % slots, min(k, slots)
                change = g - g_before
                square = dot(change, change)
                # A difference of zero gets weight zero, so at the fixed point this is plain iteration.
                scale = square.rsqrt().masked_fill(lost_in_rounding(square, new), 0.0)
                df[:, slot] = ((new - new_before) * scale).flatten(1)
                dg[:, slot] = (change * scale).flatten(1)
                gram[:, slot, :used] = gram[:, :used, slot] = (dg[:, :used] * dg[:, slot, None]).sum(-1)
                target = (dg[:, :used] * g.flatten(1)[:, None]).sum(-1)
                normal = gram[:, :used, :used] + ridge * torch.eye(used, dtype=z.dtype, device=z.device)
                # solve_ex, because a diverged sample must not raise and checking for one would make the host wait.
                weights = torch.linalg.solve_ex(normal, target).result
                z = new - (df[:, :used] * weights[..., None]).sum(1).view_as(new)
            new_before, g_before = new, g
        return completed(z, self.iterations, residuals if self.record_residuals else None)
