"""Features of a stream of images."""

import torch
from torch import Tensor

from bench.quality.extractor import Extractor

FEATURE_BATCH = 100  # fixed, because the last bits of features change with the batch size


class Joined:
    """Several extractors as one: their features of an image, one after the other."""

    def __init__(self, *extractors: Extractor) -> None:
        self._extractors = extractors
        self.dimensions = sum(one.dimensions for one in extractors)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (batch, channels, size, size) -> (batch, dimensions), float32 on the CPU."""
        return torch.cat([extractor(images) for extractor in self._extractors], dim=1)


class FeatureStream:
    """Computes features of images that come in batches of any size, always FEATURE_BATCH images at a time.

    The features do not depend on the size of the batches. At most one batch and FEATURE_BATCH images are kept.
    """

    def __init__(self, extractor: Extractor | Joined) -> None:
        self._extractor = extractor
        self.waiting: Tensor | None = None  # images without features yet; set it to continue another stream

    @property
    def dimensions(self) -> int:
        """Length of a feature vector."""
        return self._extractor.dimensions

    def add(self, images: Tensor) -> list[Tensor]:
        """Take uint8 (batch, channels, size, size); return completed features, (FEATURE_BATCH, dimensions) each."""
        images = images if self.waiting is None else torch.cat([self.waiting, images])
        whole = len(images) - len(images) % FEATURE_BATCH
        self.waiting = images[whole:].clone() if whole < len(images) else None
        if not whole:
            return []
        # One allocation: small ones between the activations would keep gigabytes of them from being freed.
        features = torch.empty(whole, self.dimensions).split(FEATURE_BATCH)
        chunks = images[:whole].split(FEATURE_BATCH)
        return [rows.copy_(self._extractor(chunk)) for rows, chunk in zip(features, chunks, strict=True)]

    def finish(self) -> list[Tensor]:
        """Features of the remaining images, fewer than FEATURE_BATCH; empty if there are none."""
        images, self.waiting = self.waiting, None
        return [] if images is None else [self._extractor(images)]
