"""The part of reference statistics that one shard of a dataset makes: moments and kept features of each extractor."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from bench.prepare.reading import ReadBatch
from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream
from bench.quality.moments import Moments

BLOCK = 10  # chunks of features whose moments are taken at once


class Part:
    """Moments, kept features, hashes and indices of the images of a shard, collected batch by batch.

    Args:
        extractors: compute the features, by name.
        kept: (kept,), indices of the images whose features are kept, in order.
    """

    def __init__(self, extractors: Mapping[str, Extractor], kept: np.ndarray) -> None:
        self._indices, self._hashes = [np.empty(0, np.int64)], [np.empty((0, 32), np.uint8)]
        self._features = {name: _Features(one, kept, self._indices) for name, one in extractors.items()}

    def add(self, batch: ReadBatch) -> None:
        self._indices.append(batch.indices)
        self._hashes.append(batch.hashes)
        for features in self._features.values():
            features.add(batch.images)

    def finish(self) -> dict[str, np.ndarray]:
        """The arrays of the shard's file."""
        arrays: dict[str, np.ndarray] = {
            "indices": np.concatenate(self._indices),
            "hashes": np.concatenate(self._hashes),
        }
        for name, features in self._features.items():
            arrays |= {in_file(name, what): array for what, array in features.finish()}
        return arrays


def in_file(extractor: str, what: str) -> str:
    """The name that an extractor's array, "mean", "scatter" or "kept", has in the file of a shard."""
    return f"{extractor}.{what}" if extractor else what


class _Features:
    """Moments and kept features of one extractor.

    Args:
        extractor: computes the features.
        kept: as of a `Part`.
        indices: the indices of all images so far, which the part appends to.
    """

    def __init__(self, extractor: Extractor, kept: np.ndarray, indices: list[np.ndarray]) -> None:
        self._stream, self._kept, self._indices = FeatureStream(extractor), kept, indices
        self._shape = (extractor.dimensions, extractor.dimensions)
        self._moments: Moments | None = None
        self._block: list[Tensor] = []
        self._features = [np.empty((0, extractor.dimensions), np.float32)]

    def add(self, images: Tensor) -> None:
        for chunk in self._stream.add(images):
            self._block.append(chunk)
            if len(self._block) == BLOCK:
                self._close_block()

    def finish(self) -> Iterator[tuple[str, np.ndarray]]:
        self._block += self._stream.finish()
        if self._block:
            self._close_block()
        moments = self._moments or Moments(0, np.zeros(self._shape[0]), np.zeros(self._shape))
        yield "mean", moments.mean
        yield "scatter", moments.scatter
        yield "kept", np.concatenate(self._features)

    def _close_block(self) -> None:
        features = torch.cat(self._block).numpy()
        self._block = []
        own = Moments.of(features)
        done = self._moments.count if self._moments else 0
        indices = np.concatenate(self._indices)[done : done + len(features)]
        self._features.append(features[np.isin(indices, self._kept)])
        self._moments = self._moments.merged(own) if self._moments else own
