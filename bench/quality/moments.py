"""Mean and covariance of vectors that come in parts, merged by the formula of Chan, Golub and LeVeque (1983).

    d = mean_b - mean_a,   n = n_a + n_b
    mean = mean_a + d n_b / n
    scatter = scatter_a + scatter_b + d d^T n_a n_b / n

Sums of squares would lose digits if the mean is much larger than the spread.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Moments:
    """First and second moments of a set of vectors, float64.

    Attributes:
        count: number of vectors.
        mean: (dimensions,).
        scatter: (dimensions, dimensions), sum of the outer products of deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Self:
        """Moments of vectors, (count, dimensions), at least one."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        deviations = vectors - mean
        return cls(len(vectors), mean, deviations.T @ deviations)

    def merged(self, other: "Moments") -> "Moments":
        """Moments of the union of both sets."""
        count, difference = self.count + other.count, other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        between = np.outer(difference, difference) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance, as np.cov. Needs two vectors or more."""
        return self.scatter / (self.count - 1)
