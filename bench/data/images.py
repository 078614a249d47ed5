"""Image datasets as their owners ship them: a fixed order, labels, and the bytes of each image.

One module per source reads them (imagenet, image_files, church). What networks see of an image is the centre crop of
DiT's and ADM's protocol (`decode`).
"""

import io
import os
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from bench.system.errors import BadInputError

# Images of the training sets.
COUNTS = {"imagenet": 1_281_167, "celebahq": 30_000, "ffhq": 70_000, "church": 126_227}
DATASETS = tuple(COUNTS)


class UnreadableImageError(Exception):
    """An image is missing or corrupt, while the rest of its dataset can be read. The message says why."""


class ImageSource(Protocol):
    """A dataset's images in a fixed order. It can be copied to other processes; files are opened where they are read.

    Attributes:
        labels: (count,) int64; zeros where there are no classes.
    """

    labels: np.ndarray

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What the image is called, for messages: a path within the dataset, a zip's member, a key."""

    def read(self, index: int) -> bytes:
        """The encoded image as shipped. UnreadableImageError if that is the image's fault, OSError if the storage's."""


def read_file(root: Path, name: str) -> bytes:
    """An image's file under a dataset's root, for sources of files. Errors are those of `ImageSource.read`."""
    try:
        return (root / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        with os.scandir(root) as entries:  # one that is not mounted is gone, or empty
            if next(entries, None) is None:
                raise
        raise UnreadableImageError(error.strerror) from error


def read_image(source: ImageSource, index: int) -> bytes:
    """An image as shipped. UnreadableImageError if it is the image's fault that it cannot be read.

    BadInputError if it is the storage's: nothing can be said of the image then.
    """
    try:
        return source.read(index)
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise BadInputError(
            f"{source.name(index)}: the storage fails ({reason}), which is not the image's fault; run the same command "
            "again when its folder can be read"
        ) from error


def open_images(dataset: str, path: Path) -> ImageSource:
    """Open the dataset called `dataset` (one of DATASETS) at `path`.

    Raises:
        BadInputError: there is no such dataset there; says what layout is expected.
    """
    check_dataset(dataset)
    if not path.exists():
        raise BadInputError(f"{path}: no such file or folder; name the place of the images of {dataset}")
    if dataset == "imagenet":
        from bench.data.imagenet import ImageNet

        return ImageNet(path)
    if dataset == "church":
        from bench.data.church import Church

        return Church(path)
    from bench.data.image_files import open_files

    return open_files(path)


def check_dataset(dataset: str) -> None:
    """BadInputError for a name that is not one of DATASETS."""
    if dataset not in DATASETS:
        raise BadInputError(f"{dataset!r} is no image dataset; choose from {', '.join(DATASETS)}")


def check_count(dataset: str, source: ImageSource, any_count: bool) -> None:
    """BadInputError unless the source has as many images as the dataset, or any number but none will do."""
    if not len(source):
        raise BadInputError(f"{dataset}: found no images; name the place of the dataset")
    if len(source) != COUNTS[dataset] and not any_count:
        raise BadInputError(
            f"{dataset}: found {len(source):,} images, expected {COUNTS[dataset]:,}; "
            "complete the dataset, or say --any-count to use what is there"
        )


def dataset_digest(labels: np.ndarray, hashes: np.ndarray) -> str:
    """SHA-256, in hex, of a dataset as shipped, names and packing aside.

    Args:
        labels: (count,), hashed as little-endian int64.
        hashes: (count, 32) uint8: SHA-256 of each image's bytes, in order.
    """
    if hashes.shape != (len(labels), 32) or hashes.dtype != np.uint8:
        raise ValueError(f"hashes {hashes.shape} {hashes.dtype} do not fit {len(labels)} labels")
    hasher = sha256(labels.astype("<i8").tobytes())
    hasher.update(hashes.tobytes())
    return hasher.hexdigest()


def decode(encoded: bytes, size: int) -> np.ndarray:
    """Decode to RGB and centre-crop: uint8 (3, size, size). UnreadableImageError if the image is corrupt.

    While the shorter side is at least twice `size`, both are halved (box filter); then the shorter one is resized to
    `size` (bicubic), and the middle of the longer one is kept.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
    except MemoryError:
        raise
    except OSError as error:  # Pillow's own
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # its decoders raise whatever broken data leads them to
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
