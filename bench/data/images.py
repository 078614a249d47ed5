"""Image datasets as their owners ship them: a fixed order, labels, and the bytes of each image."""

from pathlib import Path
from typing import Protocol

import numpy as np

from bench.errors import BadInputError


class ImageSource(Protocol):
    """A dataset's images in a fixed order.

    Attributes:
        labels: (count,) int64; zeros where there are no classes.
    """

    labels: np.ndarray

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What the image is called, for messages: a path, a zip's member, a key."""

    def read(self, index: int) -> bytes:
        """The encoded image as shipped. OSError (or KeyError) if it is missing."""


def open_images(dataset: str, path: Path) -> ImageSource:
    """Open the dataset called `dataset` ("imagenet", "celebahq", "ffhq", "church") at `path`.

    Raises:
        BadInputError: there is no such dataset there; says what layout is expected.
    """
    raise BadInputError(f"dataset {dataset!r} has no reader: {path}")


def decode(encoded: bytes, size: int) -> np.ndarray:
    """Decode to RGB and centre-crop: uint8 (3, size, size). OSError if the image is corrupt."""
    raise NotImplementedError
