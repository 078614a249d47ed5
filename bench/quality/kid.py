"""Kernel distance (KID, Binkowski et al. 2018), equal to torch-fidelity's to rounding (tested) and faster.

torch-fidelity computes a kernel matrix for each pair of subsets. The sum of a kernel over two subsets is a bilinear
form of their indicator vectors, so one kernel matrix of all images serves every pair. If the matrix of all images is
larger than those of the subsets and than DENSE_KERNELS, each pair gets its own. The subsets are torch-fidelity's.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

DEGREE, OFFSET = 3, 1.0  # published kernel: (x . y / features + OFFSET) ** DEGREE
SUBSETS_SEED = 2020  # torch-fidelity's
DENSE_KERNELS = 2**25  # kernel values (256 MiB) up to which one matrix of all images is used


class KernelDistance:
    """Unbiased squared MMD between features and one reference, over random subsets.

    Args:
        reference: (count, dimensions).
    """

    def __init__(self, reference: Tensor) -> None:
        self._reference = reference

    def measure(self, features: Tensor, subsets: int, size: int) -> tuple[float, float]:
        """Mean and standard deviation over subsets of features, (count, dimensions).

        Raises:
            ValueError: a subset has fewer than two images, or more than one of the sides has.
        """
        counts = len(features), len(self._reference)
        if not 2 <= size <= min(counts):
            raise ValueError(f"a subset must have 2 to {min(counts)} images, got {size}")
        rng = np.random.RandomState(SUBSETS_SEED)
        chosen = [tuple(rng.choice(count, size, replace=False) for count in counts) for _ in range(subsets)]
        kernels = counts[0] ** 2 + counts[0] * counts[1] + counts[1] ** 2
        dense = kernels <= max(DENSE_KERNELS, subsets * size**2)
        distances = (self._from_all if dense else self._one_by_one)(features, chosen, size)
        return distances.mean().item(), distances.std(correction=0).item()

    @cached_property
    def _reference_kernel(self) -> Tensor:
        return _kernel(self._reference.double(), self._reference.double())

    def _from_all(self, features: Tensor, chosen: list[tuple[np.ndarray, ...]], size: int) -> Tensor:
        """Distances of the pairs of subsets, (subsets,), from one kernel matrix of all images."""
        features, reference = features.double(), self._reference.double()
        sides = [torch.zeros(len(chosen), len(side), dtype=torch.float64) for side in (features, reference)]
        for i, pair in enumerate(chosen):
            for side, indices in zip(sides, pair, strict=True):
                side[i, torch.from_numpy(indices)] = 1
        within = [
            (((side @ kernel) * side).sum(1) - side @ kernel.diagonal()) / (size * (size - 1))
            for side, kernel in zip(sides, (_kernel(features, features), self._reference_kernel), strict=True)
        ]
        across = ((sides[0] @ _kernel(features, reference)) * sides[1]).sum(1) / size**2
        return within[0] + within[1] - 2 * across

    def _one_by_one(self, features: Tensor, chosen: list[tuple[np.ndarray, ...]], size: int) -> Tensor:
        """Distances of the pairs of subsets, (subsets,), from a kernel matrix for each pair."""
        distances = []
        for pair in chosen:
            sides = [
                side[torch.from_numpy(i)].double() for side, i in zip((features, self._reference), pair, strict=True)
            ]
            within = [
                (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))
                for kernel in (_kernel(side, side) for side in sides)
            ]
            distances.append(within[0] + within[1] - 2 * _kernel(*sides).mean())
        return torch.stack(distances)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    base = (a @ b.T).div_(a.shape[1]).add_(OFFSET)
    return base.pow(DEGREE)
