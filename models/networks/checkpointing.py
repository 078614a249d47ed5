"""Activation checkpointing: of a function keep the inputs only, and compute it again when backward comes to it.

Memory for time: one more forward of what is recomputed. Gradients are the same to the bit, as the same operations run
on the same numbers, under the autocast of the first run (torch.utils.checkpoint sees to it).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: object) -> Tensor:
    """function(*inputs), computed again in backward where a graph is built. The function draws nothing at random."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
