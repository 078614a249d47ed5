"""The metrics that `bench.spec.metrics` registers, computed from features of generated images and of a reference.

A Frechet distance in features of another network than Inception is called FD in tables, not FID. FD and KID depend on
the number of samples: compare equal numbers only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from bench.quality.kid import KernelDistance
from bench.quality.precision_recall import PrecisionRecall
from bench.quality.reference_statistics import ReferenceStatistics


@dataclass(frozen=True)
class Comparison:
    """Features of generated images beside a reference: the argument of every metric.

    Attributes:
        features: (count, dimensions) of the generated images.
        reference: statistics of the real images.
        kernels: kernel distances to `reference`; keeps what does not depend on `features`.
        balls: precision and recall against `reference`; keeps what does not depend on `features`.
        kid_subsets: number of random subsets of KID.
        kid_subset_size: images of a subset, at most.
    """

    features: Tensor
    reference: ReferenceStatistics
    kernels: KernelDistance
    balls: PrecisionRecall
    kid_subsets: int
    kid_subset_size: int

    @cached_property
    def frechet_distances(self) -> dict[int, float]:
        """Frechet distance by number of images: of all, and the means over their two halves and four quarters.

        The parts are of equal size, in the order of the images. Parts of fewer than two images are left out.
        """
        sizes = (size for parts in (2, 4) if (size := len(self.features) // parts) > 1)
        of_parts = {size: float(np.mean([*map(self._distance, self._parts(size))])) for size in sizes}
        return {len(self.features): self.frechet_distance} | of_parts

    @cached_property
    def frechet_distance(self) -> float:
        """Frechet distance of all images."""
        return self._distance(self.features)

    def _parts(self, size: int) -> Iterable[Tensor]:
        """The features in parts of a size; what is left over is left out."""
        return (part for part in self.features.split(size) if len(part) == size)

    def _distance(self, features: Tensor) -> float:
        reference = {"mu": self.reference.mu, "sigma": self.reference.sigma}
        generated = fid_features_to_statistics(features.double())
        return float(fid_statistics_to_metric(generated, reference, verbose=False)[KEY_METRIC_FID])

    @cached_property
    def kid(self) -> tuple[float, float]:
        """Mean and standard deviation of KID over subsets."""
        size = min(self.kid_subset_size, len(self.features), len(self.reference.features))
        return self.kernels.measure(self.features, self.kid_subsets, size)

    @cached_property
    def precision_recall(self) -> tuple[float, float]:
        """Precision and recall, both 0 to 1."""
        return self.balls.measure(self.features)


def frechet_distance(comparison: Comparison) -> float:
    """Frechet distance between Gaussians fitted to both sides' features."""
    return comparison.frechet_distance


def frechet_distance_of_quarters(comparison: Comparison) -> float | None:
    """Frechet distance of a quarter of the images: the mean over four quarters. None for fewer than eight images."""
    return comparison.frechet_distances.get(len(comparison.features) // 4)


def frechet_distance_of_halves(comparison: Comparison) -> float | None:
    """Frechet distance of half of the images: the mean over both halves. None for fewer than four images."""
    return comparison.frechet_distances.get(len(comparison.features) // 2)


def frechet_distance_limit(comparison: Comparison) -> float | None:
    """Frechet distance extrapolated to infinitely many images by a line in 1 / count (Chong & Forsyth 2020).

    The line is fitted to the distances of all images, halves and quarters by least squares. The limit may be negative.
    None for fewer than eight images.
    """
    if len(found := comparison.frechet_distances) < 3:
        return None
    _, limit = np.polyfit(1 / np.array([*found]), [*found.values()], 1)
    return float(limit)


def kernel_distance(comparison: Comparison) -> float:
    """Kernel distance (KID), the mean over subsets."""
    return comparison.kid[0]


def kernel_distance_std(comparison: Comparison) -> float:
    """Standard deviation of KID over subsets, which is not a standard error."""
    return comparison.kid[1]


def precision(comparison: Comparison) -> float:
    """Share of generated images that look real (Kynkäänniemi et al. 2019)."""
    return comparison.precision_recall[0]


def recall(comparison: Comparison) -> float:
    """Share of real images that are generated (Kynkäänniemi et al. 2019)."""
    return comparison.precision_recall[1]
