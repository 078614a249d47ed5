"""Reads and decodes a part of an image dataset with worker processes; what cannot be read is collected, not dropped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.images import ImageSource, decode
from bench.errors import BadInputError
from bench.store import write_whole

_SHOWN = 3  # unreadable images in a message


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


class _Decoder(Dataset["_Decoded | Unreadable"]):
    def __init__(self, source: ImageSource, size: int) -> None:
        self._source, self._size = source, size

    def __getitem__(self, index: int) -> "_Decoded | Unreadable":
        try:
            encoded = self._source.read(index)
            return _Decoded(index, decode(encoded, self._size), sha256(encoded).digest())
        except (OSError, KeyError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return Unreadable(index, self._source.name(index), " ".join(reason.split()))


def read_batches(source: ImageSource, indices: range, size: int, batch_size: int, workers: int) -> Iterator[ReadBatch]:
    """Batches of the images `indices`, in order. A batch is smaller by what is unreadable in it; it may be empty.

    Args:
        source: the dataset.
        indices: which images of it.
        size: of the crops, in pixels.
        batch_size: images in a batch; the last one may be smaller.
        workers: processes that read and decode; 0 for this one.
    """
    loader = DataLoader(
        _Decoder(source, size),
        batch_size=batch_size,
        sampler=indices,
        num_workers=workers,
        collate_fn=partial(_collate, size=size),
    )
    yield from loader


def _collate(items: Sequence[_Decoded | Unreadable], size: int) -> ReadBatch:
    good = [item for item in items if isinstance(item, _Decoded)]
    images = np.stack([item.image for item in good]) if good else np.empty((0, 3, size, size), dtype=np.uint8)
    return ReadBatch(
        images=torch.from_numpy(images),
        hashes=np.frombuffer(b"".join(item.hash for item in good), dtype=np.uint8).reshape(-1, 32),
        indices=np.array([item.index for item in good], dtype=np.int64),
        unreadable=tuple(item for item in items if isinstance(item, Unreadable)),
    )


def check_unreadable(unreadable: Sequence[Unreadable], list_file: Path, skip_bad: bool) -> None:
    """Stop if there are unreadable images and they are not to be skipped.

    Args:
        unreadable: all of a shard.
        list_file: written then, with a line for each: index, name, reason. Removed if there is nothing to stop for.
        skip_bad: the option --skip-bad.

    Raises:
        BadInputError: how many, the first few of them, and the list file.
    """
    if not unreadable or skip_bad:
        list_file.unlink(missing_ok=True)
        return
    lines = "".join(f"{bad.index}\t{bad.name}\t{bad.reason}\n" for bad in unreadable)
    write_whole(list_file, lambda file: file.write(lines.encode(errors="backslashreplace")))
    shown = ", ".join(f"{bad.name} ({bad.reason})" for bad in unreadable[:_SHOWN])
    raise BadInputError(
        f"{len(unreadable)} unreadable image{'s' * (len(unreadable) > 1)}: {shown}"
        f"{', ...' * (len(unreadable) > _SHOWN)} (all are listed in {list_file}); "
        "put them right, or say --skip-bad to leave them out"
    )
