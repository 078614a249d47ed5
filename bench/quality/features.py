"""Features of a stream of images."""

import torch
from torch import Tensor

from bench.quality.extractor import Extractor

FEATURE_BATCH = 100  # features change in the last bits with the batch size, so it is one for all


class FeatureStream:
    """Features of images that come in batches of any size, computed FEATURE_BATCH at a time across their borders.

    They are those of all images at once, bit for bit. At most a batch and FEATURE_BATCH images are kept.
    """

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self.waiting: Tensor | None = None  # images whose features are still to come; to go on, set to what it was

    @property
    def dimensions(self) -> int:
        """Of a feature vector."""
        return self._extractor.dimensions

    def add(self, images: Tensor) -> list[Tensor]:
        """uint8 (batch, channels, size, size) -> features that this completes, each (FEATURE_BATCH, dimensions)."""
        images = images if self.waiting is None else torch.cat([self.waiting, images])
        whole = len(images) - len(images) % FEATURE_BATCH
        self.waiting = images[whole:].clone() if whole < len(images) else None
        if not whole:
            return []
        # In one piece: each by itself, they lie between activations and keep gigabytes of those from being freed.
        features = torch.empty(whole, self.dimensions).split(FEATURE_BATCH)
        chunks = images[:whole].split(FEATURE_BATCH)
        return [rows.copy_(self._extractor(chunk)) for rows, chunk in zip(features, chunks, strict=True)]

    def finish(self) -> list[Tensor]:
        """Features of the images that are left, fewer than FEATURE_BATCH; empty if there are none."""
        images, self.waiting = self.waiting, None
        return [] if images is None else [self._extractor(images)]
