"""Quality of generated images against a reference, from images that come batch by batch."""

from dataclasses import dataclass
from pkgutil import resolve_name

import torch
from torch import Tensor

from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream, Joined
from bench.quality.kid import KernelDistance
from bench.quality.metrics import Comparison
from bench.quality.precision_recall import PrecisionRecall
from bench.quality.reference_statistics import ReferenceStatistics
from bench.spec.metrics import METRICS, SECOND_METRICS
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class SecondJudge:
    """A second extractor, and statistics of the real images in its features.

    Attributes:
        name: as registered in `bench.spec.extractors.SECOND_EXTRACTORS`.
        reference, extractor: as of a `QualityMeter`.
    """

    name: str
    reference: ReferenceStatistics
    extractor: Extractor


class QualityMeter:
    """Measures generated images against one reference, by every registered metric.

    Args:
        reference: statistics of the real images.
        extractor: the extractor that made the reference's features.
        second: measures one more distance, in features of its own.
    """

    def __init__(self, reference: ReferenceStatistics, extractor: Extractor, second: SecondJudge | None = None) -> None:
        self._reference, self._extractor, self._second = reference, extractor, second
        self._kernels, self._balls = KernelDistance(reference.features), PrecisionRecall(reference.features)

    def start(self) -> "Measurement":
        """A measurement that takes images batch by batch."""
        own, second = self._extractor, self._second
        return Measurement(self, FeatureStream(Joined(own, second.extractor) if second else own))

    def check_size(self, image_size: int) -> None:
        """BadInputError if the reference has images of another size, in pixels a side."""
        if image_size != self._reference.image_size:
            raise BadInputError(
                f"samples are decoded to {image_size} pixels, the reference is of {self._reference.image_size}: use "
                "the suite's autoencoder, and the reference that bench/reference.py makes"
            )

    def measure(self, images: Tensor, kid_subsets: int, kid_subset_size: int) -> dict[str, float]:
        """Metrics of images in memory, uint8 (count, channels, size, size), by name."""
        measurement = self.start()
        measurement.add(images)
        return measurement.finish(kid_subsets, kid_subset_size)

    def compare(self, features: Tensor, kid_subsets: int, kid_subset_size: int) -> dict[str, float]:
        """Metrics of features, (count, dimensions), by name. KID's subsets have at most `kid_subset_size` images.

        A second extractor's features follow the others in each row. Metrics that need more images are left out.
        """
        own, others = (part.contiguous() for part in features.tensor_split([len(self._reference.mu)], dim=1))
        comparison = Comparison(own, self._reference, self._kernels, self._balls, kid_subsets, kid_subset_size)
        found = {name: resolve_name(metric.compute)(comparison) for name, metric in METRICS.items()}
        measured = {name: value for name, value in found.items() if value is not None}
        if self._second is None:
            return measured
        real, metric = self._second.reference, SECOND_METRICS[self._second.name]
        judges = KernelDistance(real.features), PrecisionRecall(real.features)
        comparison = Comparison(others, real, *judges, kid_subsets, kid_subset_size)
        return measured | {metric.name: resolve_name(metric.compute)(comparison)}


class Measurement:
    """The measurement of one set of generated images. It keeps their features, not the images."""

    def __init__(self, meter: QualityMeter, stream: FeatureStream) -> None:
        self._meter, self._stream = meter, stream
        self._features: list[Tensor] = []

    def add(self, images: Tensor) -> Tensor:
        """Take a batch, uint8 (batch, channels, size, size). The batch size does not change the result.

        Returns:
            (any, dimensions): the features computed so far and not returned before.

        Raises:
            BadInputError: the reference has images of another size.
        """
        self._meter.check_size(images.shape[-1])
        completed = self._stream.add(images)
        self._features.append(torch.cat(completed) if completed else torch.zeros(0, self._stream.dimensions))
        return self._features[-1]

    @property
    def waiting(self) -> Tensor:
        """Added images whose features are not computed yet, uint8 (any, channels, size, size)."""
        return torch.zeros(0, 0, 0, 0, dtype=torch.uint8) if self._stream.waiting is None else self._stream.waiting

    def resume(self, features: list[Tensor], waiting: Tensor) -> None:
        """Continue another measurement, from the features that its `add` returned and its last `waiting`."""
        self._features = list(features)
        self._stream.waiting = waiting if len(waiting) else None

    def finish(self, kid_subsets: int, kid_subset_size: int) -> dict[str, float]:
        """Metrics of all added images, by name."""
        self._features += self._stream.finish()
        return self._meter.compare(torch.cat(self._features), kid_subsets, kid_subset_size)
