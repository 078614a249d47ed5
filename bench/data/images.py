"""Image datasets as published: images in a fixed order, with labels and the bytes of each file.

Each format has its module (`imagenet`, `image_files`, `church`). `decode` gives the centre crop of DiT and ADM.
"""

import io
import os
from hashlib import sha256
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

import numpy as np
from PIL import Image

from bench.spec.datasets import get_dataset
from bench.system.errors import BadInputError


class UnreadableImageError(Exception):
    """One image is missing or corrupt; the rest of its dataset can be read. The message gives the reason."""


class ImageSource(Protocol):
    """The images of a dataset in a fixed order. It can be sent to other processes: each opens the files it reads.

    Attributes:
        labels: (count,) int64; zeros if the dataset has no classes.
    """

    labels: np.ndarray

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Name of the image, for messages: its path in the dataset, its zip member or its key."""

    def read(self, index: int) -> bytes:
        """Bytes of the image file. UnreadableImageError if the image is at fault, OSError if the storage is."""


def read_file(root: Path, name: str) -> bytes:
    """Bytes of the image file `name` in the folder `root`. Errors as in `ImageSource.read`."""
    try:
        return (root / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        with os.scandir(root) as entries:  # if the dataset is no longer mounted, its root is missing or empty
            if next(entries, None) is None:
                raise
        raise UnreadableImageError(error.strerror) from error


def read_image(source: ImageSource, index: int) -> bytes:
    """Bytes of an image file. UnreadableImageError if the image is at fault, BadInputError if the storage is."""
    try:
        return source.read(index)
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise BadInputError(
            f"{source.name(index)}: the storage fails ({reason}), the image may be good; run the same command again "
            "when its folder can be read"
        ) from error


def open_images(name: str, path: Path) -> ImageSource:
    """Open the image files of the dataset called `name` at `path`.

    Raises:
        BadInputError: the dataset is unknown or has no image files, or `path` does not hold it. The message says which
            layout is expected.
    """
    dataset = get_dataset(name)
    if not dataset.is_latent:
        raise BadInputError(f"dataset {name} has no image files to encode: networks see its pixels")
    if not path.exists():
        raise BadInputError(f"{path}: no such file or folder; give the path of the images of {name}")
    return resolve_name(dataset.opens)(path)


def check_count(name: str, source: ImageSource, any_count: bool) -> None:
    """BadInputError if the source is empty, or if its size is not the registered one and `any_count` is False."""
    expected = get_dataset(name).count
    if not len(source):
        raise BadInputError(f"{name}: found no images; give the path of the dataset")
    if len(source) != expected and not any_count:
        raise BadInputError(
            f"{name}: found {len(source):,} images, expected {expected:,}; complete the dataset, or accept its images "
            "with --any-count"
        )


def dataset_digest(labels: np.ndarray, hashes: np.ndarray) -> str:
    """SHA-256, in hex, over labels and image files in order. It does not depend on file names or on packing.

    Args:
        labels: (count,), hashed as little-endian int64.
        hashes: (count, 32) uint8, SHA-256 of each image file.
    """
    if hashes.shape != (len(labels), 32) or hashes.dtype != np.uint8:
        raise ValueError(f"hashes {hashes.shape} {hashes.dtype} do not fit {len(labels)} labels")
    hasher = sha256(labels.astype("<i8").tobytes())
    hasher.update(hashes.tobytes())
    return hasher.hexdigest()


def decode(encoded: bytes, size: int) -> np.ndarray:
    """Decode to RGB and centre-crop: uint8 (3, size, size). UnreadableImageError if the image is corrupt.

    Both sides are halved (box filter) while the shorter one is at least 2 * `size`. Then the shorter one is resized to
    `size` (bicubic), and the longer one is cropped to its middle.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
    except MemoryError:
        raise
    except OSError as error:  # Pillow's own errors
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # its decoders raise many kinds of errors on corrupt data
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    return np.ascontiguousarray(np.asarray(_centre_crop(image, size)).transpose(2, 0, 1))


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
