"""Reading and decoding of a part of an image dataset by worker processes; unreadable images are listed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data.decoding import decode_and_hash
from bench.data.images import ImageSource, UnreadableImageError, read_image
from bench.system.children import DiedError, in_turns
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
        hashes: (batch, 32) uint8, SHA-256 of each image file, by `decode_and_hash`.
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
            BadInputError: the storage fails, so that nothing is known of the image, or a worker process dies.
            UnreadableImagesError: after the last batch, if images are unreadable and `skip_bad` is False.
        """
        parts = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        read = map(self._read, parts) if not self.workers else in_turns(self._read, parts, self.workers)
        unreadable: list[Unreadable] = []
        try:
            for images, hashes, kept, left_out in read:
                unreadable += left_out
                yield ReadBatch(torch.from_numpy(images), hashes, kept, tuple(left_out))
        except DiedError as error:
            raise BadInputError(
                f"--workers {self.workers}: a process that reads images {error}; run the same command again to go on, "
                "with fewer workers if memory is short, or with --workers 0"
            ) from error
        if unreadable and not self.skip_bad:
            raise UnreadableImagesError(unreadable)

    def _read(self, indices: range) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Unreadable]]:
        """The content of a batch. As arrays: tensors would be sent to another process through /dev/shm."""
        images = np.empty((len(indices), 3, self.size, self.size), dtype=np.uint8)
        hashes, kept, unreadable = list[bytes](), list[int](), list[Unreadable]()
        for index in indices:
            try:
                images[len(kept)], digest = decode_and_hash(read_image(self.source, index), self.size)
            except UnreadableImageError as error:
                reason = " ".join(str(error).split()) or "unreadable"
                unreadable.append(Unreadable(index, self.source.name(index), reason))
                continue
            hashes.append(digest)
            kept.append(index)
        digests = np.frombuffer(bytearray(b"".join(hashes)), dtype=np.uint8).reshape(-1, 32)
        return images[: len(kept)], digests, np.array(kept, dtype=np.int64), unreadable
