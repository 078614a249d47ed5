"""Improved precision and recall (Kynkäänniemi et al. 2019), as torch-fidelity computes them (tested).

    precision: the part of generated images within the ball of a real one
    recall: the part of real images within the ball of a generated one

A ball reaches to the NEIGHBORS-th nearest image of its own side, so that both depend on how many there are: they are
taken of equally many on both sides. torch-fidelity would find the balls of the real images anew for each cell.
"""

import torch
from torch import Tensor

from bench.quality.reference_statistics import KEPT_FEATURES, kept_indices

NEIGHBORS = 3  # as published
ROWS = 1000  # of a matrix of distances that are in memory at once


class PrecisionRecall:
    """Compares features with one reference, at most KEPT_FEATURES of either side.

    Args:
        reference: (count, dimensions), of which evenly spaced ones are taken.
    """

    def __init__(self, reference: Tensor) -> None:
        self._reference = reference
        self._balls: dict[int, tuple[Tensor, Tensor]] = {}

    def measure(self, features: Tensor) -> tuple[float, float]:
        """Precision and recall of (count, dimensions), with two images or more on either side.

        The first are taken: labels of generated images go round, so that every n-th would leave classes out.
        """
        count = min(len(features), len(self._reference), KEPT_FEATURES)
        generated = features[:count]
        if count not in self._balls:
            real = self._reference[torch.from_numpy(kept_indices(len(self._reference), count))]
            self._balls[count] = real, _radii(real)
        real, radii = self._balls[count]
        return _covered(generated, real, radii), _covered(real, generated, _radii(generated))


def _radii(features: Tensor) -> Tensor:
    """Distance of each to its NEIGHBORS-th nearest other, (count,)."""
    distances = (torch.cdist(rows, features) for rows in features.split(ROWS))
    return torch.cat(
        [rows.kthvalue(min(NEIGHBORS + 1, len(features))).values for rows in distances]
    )  # the nearest is itself


def _covered(points: Tensor, centers: Tensor, radii: Tensor) -> float:
    """The part of points within any ball."""
    inside = [(torch.cdist(rows, centers) <= radii).any(1) for rows in points.split(ROWS)]
    return torch.cat(inside).double().mean().item()
