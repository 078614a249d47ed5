"""Improved precision and recall (Kynkäänniemi et al. 2019), equal to torch-fidelity's (tested).

    precision: share of generated images within the ball of a real image
    recall: share of real images within the ball of a generated image

The ball of an image reaches to the NEIGHBORS-th nearest image of its own side. Both numbers depend on the number of
images, so both sides get equally many. The balls of the real images are kept between cells.
"""

import torch
from torch import Tensor

from bench.quality.reference_statistics import KEPT_FEATURES, kept_indices

NEIGHBORS = 3  # as published
ROWS = 1000  # rows of a distance matrix that are in memory at once


class PrecisionRecall:
    """Precision and recall against one reference, of at most KEPT_FEATURES images on each side.

    Args:
        reference: (count, dimensions). If there are more than generated images, evenly spaced rows are used.
    """

    def __init__(self, reference: Tensor) -> None:
        self._reference = reference
        self._balls: dict[int, tuple[Tensor, Tensor]] = {}

    def measure(self, features: Tensor) -> tuple[float, float]:
        """Precision and recall of features, (count, dimensions); both sides need two images or more.

        If there are too many generated images, the first are used. Their labels cycle: every n-th would miss classes.
        """
        count = min(len(features), len(self._reference), KEPT_FEATURES)
        generated = features[:count]
        if count not in self._balls:
            real = self._reference[torch.from_numpy(kept_indices(len(self._reference), count))]
            self._balls[count] = real, _radii(real)
        real, radii = self._balls[count]
        return _covered(generated, real, radii), _covered(real, generated, _radii(generated))


def _radii(features: Tensor) -> Tensor:
    """Distance of each row to its NEIGHBORS-th nearest other row, (count,)."""
    rank = min(NEIGHBORS + 1, len(features))  # the nearest row is the row itself
    return torch.cat([torch.cdist(rows, features).kthvalue(rank).values for rows in features.split(ROWS)])


def _covered(points: Tensor, centers: Tensor, radii: Tensor) -> float:
    """Share of points within any ball."""
    inside = [(torch.cdist(rows, centers) <= radii).any(1) for rows in points.split(ROWS)]
    return torch.cat(inside).double().mean().item()
