"""Quality against reference images: Frechet distance (FID) by torch-fidelity, kernel distance, precision and recall.

The features are a suite's own; "FID" with features other than Inception's is called Frechet distance (FD) in tables.
Both are biased or noisy at few samples: compare equal sample counts only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream
from bench.quality.kid import KernelDistance
from bench.quality.precision_recall import PrecisionRecall
from bench.quality.reference_statistics import ReferenceStatistics
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class Quality:
    """Frechet distance; kernel distance, mean over subsets and spread over subsets (which is not a standard error).

    Precision and recall, 0 to 1, more is better: the parts of generated images that look real, and of real ones that
    are generated (Kynkäänniemi et al. 2019).
    """

    fid: float
    kid: float
    kid_subset_std: float
    precision: float
    recall: float


class QualityMeter:
    """Measures generated images against one reference.

    Args:
        reference: what to measure against.
        extractor: whose features the reference is of.
    """

    def __init__(self, reference: ReferenceStatistics, extractor: Extractor) -> None:
        self._reference, self._extractor = reference, extractor
        self._kernel_distance = KernelDistance(reference.features)
        self._precision_recall = PrecisionRecall(reference.features)

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
        kid = self._kernel_distance.measure(features, kid_subsets, size)
        return Quality(fid[KEY_METRIC_FID], *kid, *self._precision_recall.measure(features))


class Measurement:
    """One set of generated images under way: their features are kept, the images are not."""

    def __init__(self, meter: QualityMeter, stream: FeatureStream) -> None:
        self._meter, self._stream = meter, stream
        self._features: list[Tensor] = []

    def add(self, images: Tensor) -> Tensor:
        """Take a batch, uint8 (batch, channels, size, size). In what batches images come changes nothing.

        Returns:
            (any, dimensions): the features that it completed.

        Raises:
            BadInputError: images of another size than the reference's.
        """
        self._meter.check_size(images.shape[-1])
        completed = self._stream.add(images)
        self._features.append(torch.cat(completed) if completed else torch.zeros(0, self._stream.dimensions))
        return self._features[-1]

    @property
    def waiting(self) -> Tensor:
        """Images that were added and whose features are still to come, uint8 (any, channels, size, size)."""
        return torch.zeros(0, 0, 0, 0, dtype=torch.uint8) if self._stream.waiting is None else self._stream.waiting

    def resume(self, features: list[Tensor], waiting: Tensor) -> None:
        """Go on where another measurement was, by what its `add` returned and its last `waiting`."""
        self._features = list(features)
        self._stream.waiting = waiting if len(waiting) else None

    def finish(self, kid_subsets: int, kid_subset_size: int) -> Quality:
        """Distances of all images that were added."""
        self._features += self._stream.finish()
        return self._meter.compare(torch.cat(self._features), kid_subsets, kid_subset_size)
