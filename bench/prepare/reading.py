"""Reads and decodes a part of an image dataset with worker processes; what cannot be read is collected, not dropped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.images import ImageSource, UnreadableImageError, decode, read_image
from bench.system.children import end_with_parent
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class Unreadable:
    """An image that is missing or corrupt: its index in the source, its name, and why."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class ReadBatch:
    """Images that follow each other in a source.

    Attributes:
        images: (batch, 3, size, size) uint8, cropped by `decode`.
        hashes: (batch, 32) uint8: SHA-256 of each image's bytes as shipped.
        indices: (batch,) int64, in the source.
        unreadable: what is left out.
    """

    images: Tensor
    hashes: np.ndarray
    indices: np.ndarray
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True)
class _Decoded:
    index: int
    image: np.ndarray
    hash: bytes


class _Decoder(Dataset["_Decoded | Unreadable | BadInputError"]):
    def __init__(self, source: ImageSource, size: int) -> None:
        self._source, self._size = source, size

    def __getitem__(self, index: int) -> "_Decoded | Unreadable | BadInputError":
        """Errors are returned, for a worker would raise a traceback in their stead."""
        try:
            encoded = read_image(self._source, index)
            return _Decoded(index, decode(encoded, self._size), sha256(encoded).digest())
        except UnreadableImageError as error:
            return Unreadable(index, self._source.name(index), " ".join(str(error).split()) or "unreadable")
        except BadInputError as error:
            return error


def read_batches(source: ImageSource, indices: range, size: int, batch_size: int, workers: int) -> Iterator[ReadBatch]:
    """Batches of the images `indices`, in order. A batch is smaller by what is unreadable in it; it may be empty.

    Args:
        source: the dataset.
        indices: which images of it.
        size: of the crops, in pixels.
        batch_size: images in a batch; the last one may be smaller.
        workers: processes that read and decode; 0 for this one.

    Raises:
        BadInputError: the storage fails, so that nothing can be said of an image.
    """
    loader = DataLoader(
        _Decoder(source, size),
        batch_size=batch_size,
        sampler=indices,
        num_workers=workers,
        collate_fn=partial(_collate, size=size),
        worker_init_fn=_end_with_parent,
    )
    for batch in loader:
        if isinstance(batch, BadInputError):
            raise batch
        yield batch


def _end_with_parent(_: int) -> None:
    end_with_parent()


def _collate(items: Sequence[_Decoded | Unreadable | BadInputError], size: int) -> ReadBatch | BadInputError:
    if failures := [item for item in items if isinstance(item, BadInputError)]:
        return failures[0]
    good = [item for item in items if isinstance(item, _Decoded)]
    images = np.stack([item.image for item in good]) if good else np.empty((0, 3, size, size), dtype=np.uint8)
    return ReadBatch(
        images=torch.from_numpy(images),
        hashes=np.frombuffer(b"".join(item.hash for item in good), dtype=np.uint8).reshape(-1, 32),
        indices=np.array([item.index for item in good], dtype=np.int64),
        unreadable=tuple(item for item in items if isinstance(item, Unreadable)),
    )
