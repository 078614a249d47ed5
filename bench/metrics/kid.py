"""Kernel distance (KID, Binkowski et al. 2018): torch-fidelity's numbers, from one kernel matrix for all subsets.

torch-fidelity computes the kernels of each pair of subsets anew, which took a quarter of a cell's time on `digits`. The
sum of a kernel over two subsets is a bilinear form of their indicators, so that all subsets follow from the kernels of
all images. Subsets are drawn as there; the results agree to rounding (tested).
"""

import numpy as np
import torch
from torch import Tensor

DEGREE, OFFSET = 3, 1.0  # of the polynomial kernel (x . y / features + OFFSET) ** DEGREE, as published
SUBSETS_SEED = 2020  # torch-fidelity's


class KernelDistance:
    """Unbiased squared MMD between features and one reference, over random subsets.

    Args:
        reference: (count, features), float64.
    """

    def __init__(self, reference: Tensor) -> None:
        self._reference = reference
        self._kernel = _kernel(reference, reference)

    def measure(self, features: Tensor, subsets: int, size: int) -> tuple[float, float]:
        """Mean and standard deviation over subsets of (count, features), float64.

        Raises:
            ValueError: a subset is larger than one of the sides, or of fewer than two.
        """
        counts = len(features), len(self._reference)
        if not 2 <= size <= min(counts):
            raise ValueError(f"a subset must have 2 to {min(counts)} images, got {size}")
        rng = np.random.RandomState(SUBSETS_SEED)
        chosen = [torch.zeros(subsets, count, dtype=features.dtype) for count in counts]
        for i in range(subsets):
            for side, count in zip(chosen, counts, strict=True):
                side[i, torch.from_numpy(rng.choice(count, size, replace=False))] = 1
        within = [
            (((side @ kernel) * side).sum(1) - side @ kernel.diagonal()) / (size * (size - 1))
            for side, kernel in zip(chosen, (_kernel(features, features), self._kernel), strict=True)
        ]
        across = ((chosen[0] @ _kernel(features, self._reference)) * chosen[1]).sum(1) / size**2
        distances = within[0] + within[1] - 2 * across
        return distances.mean().item(), distances.std(correction=0).item()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    base = (a @ b.T).div_(a.shape[1]).add_(OFFSET)
    return base.pow(DEGREE)
