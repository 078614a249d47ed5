"""Reading and decoding of a part of an image dataset by worker processes; unreadable images are listed."""

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
    """A missing or corrupt image: its index in the source, its name and the reason."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class ReadBatch:
    """Consecutive images of a source.

    Attributes:
        images: (batch, 3, size, size) uint8, cropped by `decode`.
        hashes: (batch, 32) uint8, SHA-256 of each image file.
        indices: (batch,) int64, indices in the source.
        unreadable: the images that are left out.
    """

    images: Tensor
    hashes: np.ndarray
    indices: np.ndarray
    unreadable: tuple[Unreadable, ...]

    @property
    def count(self) -> int:
        """Number of images, unreadable ones included."""
        return len(self.indices) + len(self.unreadable)


@dataclass(frozen=True)
class _Decoded:
    index: int
    image: np.ndarray
    hash: bytes


class _Decoder(Dataset["_Decoded | Unreadable | BadInputError"]):
    def __init__(self, source: ImageSource, size: int) -> None:
        self._source, self._size = source, size

    def __getitem__(self, index: int) -> "_Decoded | Unreadable | BadInputError":
        """Returns errors: raised in a worker process they would become a traceback."""
        try:
            encoded = read_image(self._source, index)
            return _Decoded(index, decode(encoded, self._size), sha256(encoded).digest())
        except UnreadableImageError as error:
            return Unreadable(index, self._source.name(index), " ".join(str(error).split()) or "unreadable")
        except BadInputError as error:
            return error


class UnreadableImagesError(Exception):
    """A part of a dataset has unreadable images, which are not to be left out.

    Args:
        images: all of them.
    """

    def __init__(self, images: Sequence[Unreadable]) -> None:
        super().__init__(f"{len(images)} unreadable images")
        self.images = images


@dataclass(frozen=True)
class Reader:
    """Reads and decodes the images of a source.

    Attributes:
        source: the images.
        size: of the centre crops, pixels a side.
        batch_size: images in a batch; the last one may be smaller.
        workers: processes that read and decode; 0 for the calling process.
        skip_bad: leave unreadable images out.
    """

    source: ImageSource
    size: int
    batch_size: int
    workers: int
    skip_bad: bool

    def batches(self, indices: range) -> Iterator[ReadBatch]:
        """Batches of the images `indices`, in order. Unreadable images leave a batch smaller, or empty.

        Raises:
            BadInputError: the storage fails, so that nothing is known of the image.
            UnreadableImagesError: after the last batch, if images are unreadable and `skip_bad` is False.
        """
        loader = DataLoader(
            _Decoder(self.source, self.size),
            batch_size=self.batch_size,
            sampler=indices,
            num_workers=self.workers,
            collate_fn=partial(_collate, size=self.size),
            worker_init_fn=_end_with_parent,
        )
        unreadable: list[Unreadable] = []
        for batch in loader:
            if isinstance(batch, BadInputError):
                raise batch
            unreadable += batch.unreadable
            yield batch
        if unreadable and not self.skip_bad:
            raise UnreadableImagesError(unreadable)


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
