"""Broyden's method: a quasi-Newton step towards g(z) = f(z) - z = 0.

    z <- z - H g(z),    H <- H + (s - H y) s^T H / (s^T H y),    H = -I at first

where s and y are the latest differences of z and g(z). The first step is plain iteration. See `acceleration` for what
Anderson and Broyden have in common.
"""

from dataclasses import dataclass

from torch import Tensor

from models.fixed_point.acceleration import at_least_float32, dot, lost_in_rounding
from models.fixed_point.solvers import Function, Solution, completed, residual

LEAST_PIVOT = 1e-3  # least |s^T H y| / s^T s: a smaller pivot would stretch the step by its inverse, so skip the update


@dataclass(frozen=True)
class Broyden:
    """Broyden's good method (Broyden 1965) with the inverse Jacobian H kept as rank-one factors.

    By Sherman-Morrison an update is H <- (I + u s^T) H with u = s' / s^T s, where s' = -H g is the next step by the
    new H (Kelley 1995, Sec. 7.3). So only the steps are kept: `iterations` times the size of z.

    Args:
        iterations: applications of f.
        record_residuals: record the residual of each iteration.
    """

    iterations: int
    record_residuals: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, got {self.iterations}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        z, residuals = at_least_float32(z0), []
        steps: list[Tensor] = []
        inverses: list[Tensor] = []  # 1 / s^T s of each step, 0 where the update is skipped
        for k in range(self.iterations):
            new = at_least_float32(f(z))
            if self.record_residuals:
                residuals.append(residual(new, z))
            step = g = new - z
            for s, s_next, inverse in zip(steps, steps[1:], inverses, strict=False):
                step = step + s_next * (inverse * dot(s, step))
            if k > 0:  # s' solves s' = step + s' (s^T step) / s^T s
                square = dot(steps[-1], steps[-1])
                pivot = 1 - dot(steps[-1], step) / square
                skip = lost_in_rounding(square, new) | (pivot.abs() < LEAST_PIVOT)
                inverses.append((1 / square).masked_fill(skip, 0.0))
                step = step / pivot.masked_fill(skip, 1.0)
            steps.append(step)
            z = new + (step - g)  # not z + step: so the first step is f(z0) bit for bit
        return completed(z, self.iterations, residuals if self.record_residuals else None)
