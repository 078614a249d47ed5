"""Shared parts of the accelerated solvers, Anderson and Broyden.

Both apply the same f as plain iteration, `iterations` times exactly, and use the past iterates for a better next one:
equal counts are equal block passes. Each step also makes a few passes over z for each past iterate that it uses.

Each sample is solved on its own: its result does not depend on its batch. Inner products are written as sums, because
autocast and TF32 would round a matrix product. Both solvers are for sampling: gradients are not meant to flow.
"""

import torch
from torch import Tensor


def at_least_float32(z: Tensor) -> Tensor:
    """z in float32 or wider, as under autocast f may return 16 bits, too few for differences of iterates."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample: (batch, ...) twice -> (batch, 1, ..., 1)."""
    return (a * b).sum(dim=tuple(range(1, a.dim())), keepdim=True)


def lost_in_rounding(square: Tensor, new: Tensor) -> Tensor:
    """Whether a difference of squared norm `square` is only the rounding error of `new` = f(z)."""
    limits = torch.finfo(new.dtype)
    return square <= (dot(new, new) * limits.eps**2).clamp_min(limits.tiny)
