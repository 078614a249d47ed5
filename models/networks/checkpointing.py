"""Activation checkpointing: keep only the inputs of a function and compute it again in backward.

It saves memory and costs one more forward of the function. The gradients are the same bit for bit: the same operations
run on the same numbers, under the autocast of the first run (torch.utils.checkpoint restores it).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: object) -> Tensor:
    """function(*inputs), computed again in backward if a graph is built. The function must not use random numbers."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
