"""Quality against reference images: Frechet distance (FID) by torch-fidelity, and kernel distance (KID).

The features are a suite's own; "FID" with features other than Inception's is called Frechet distance (FD) in tables.
Both are biased or noisy at few samples: compare equal sample counts only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from bench.errors import BadInputError
from bench.metrics.extractor import Extractor
from bench.metrics.features import FeatureStream
from bench.metrics.kid import KernelDistance
from bench.metrics.reference_statistics import ReferenceStatistics


@dataclass(frozen=True)
class Quality:
    """Frechet distance; kernel distance, mean over subsets and spread over subsets (which is not a standard error)."""

    fid: float
    kid: float
    kid_subset_std: float


class QualityMeter:
    """Measures generated images against one reference.

    Args:
        reference: what to measure against.
        extractor: whose features the reference is of.
    """

    def __init__(self, reference: ReferenceStatistics, extractor: Extractor) -> None:
        self._reference, self._extractor = reference, extractor
        self._kernel_distance = KernelDistance(reference.features)

    def start(self) -> "Measurement":
        """A measurement, to be given images batch by batch."""
        return Measurement(self, FeatureStream(self._extractor))

    def check_size(self, image_size: int) -> None:
        """BadInputError unless images of so many pixels a side can be compared with the reference."""
        if image_size != self._reference.image_size:
            raise BadInputError(
                f"samples are decoded to {image_size} pixels, the reference is of {self._reference.image_size}: use "
                "the autoencoder that the suite names, and the reference that bench/reference.py makes"
            )

    def measure(self, images: Tensor, kid_subsets: int, kid_subset_size: int) -> Quality:
        """Distances of images that are all there, uint8 (count, channels, size, size)."""
        measurement = self.start()
        measurement.add(images)
        return measurement.finish(kid_subsets, kid_subset_size)

    def compare(self, features: Tensor, kid_subsets: int, kid_subset_size: int) -> Quality:
        """Distances of features, (count, dimensions); KID over subsets of at most that size."""
        reference = {"mu": self._reference.mu, "sigma": self._reference.sigma}
        fid = fid_statistics_to_metric(fid_features_to_statistics(features.double()), reference, verbose=False)
        size = min(kid_subset_size, len(features), len(self._reference.features))
        return Quality(fid[KEY_METRIC_FID], *self._kernel_distance.measure(features, kid_subsets, size))


class Measurement:
    """One set of generated images under way: their features are kept, the images are not."""

    def __init__(self, meter: QualityMeter, stream: FeatureStream) -> None:
        self._meter, self._stream = meter, stream
        self._features: list[Tensor] = []

    def add(self, images: Tensor) -> None:
        """Take a batch, uint8 (batch, channels, size, size). In what batches images come changes nothing.

        BadInputError for images of another size than the reference's.
        """
        self._meter.check_size(images.shape[-1])
        self._features += self._stream.add(images)

    def finish(self, kid_subsets: int, kid_subset_size: int) -> Quality:
        """Distances of all images that were added."""
        self._features += self._stream.finish()
        return self._meter.compare(torch.cat(self._features), kid_subsets, kid_subset_size)
