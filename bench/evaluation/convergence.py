"""How the fixed-point iteration converges along a sampling run (the paper's Figures 6b and 6c)."""

from collections.abc import Sequence

import torch
from torch import Tensor

SeriesByStep = list[list[list[float]]]


def residual_series(batches: Sequence[Sequence[Tensor]]) -> SeriesByStep:
    """Mean residual by batch, step and iteration, to four digits.

    Args:
        batches: for each batch, the residuals of each step, (iterations, batch): the relative change
            ||f(z) - z|| / ||f(z)||, the paper's delta_t made comparable across timesteps.
    """
    means = [torch.stack([step.double().mean(1) for step in steps]) for steps in batches]
    return [[[float(f"{v:.4g}") for v in row] for row in table.tolist()] for table in means]
