"""Image datasets as published: images in a fixed order, with labels and the bytes of each file.

Each format has its module (`imagenet`, `image_files`, `church`). `bench.data.decoding` makes pixels of the bytes.
"""

import os
from hashlib import sha256
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

import numpy as np

from bench.spec.datasets import get_dataset
from bench.system.errors import BadInputError, first_few


class UnreadableImageError(Exception):
    """An image is missing, corrupt or of a kind without a rule; the rest of its dataset can be read."""


class ImageSource(Protocol):
    """One or more images in a fixed order. It can be sent to other processes: each opens the files it reads.

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
    """BadInputError if the size of the source is not the registered one and `any_count` is False."""
    expected = get_dataset(name).count
    if len(source) != expected and not any_count:
        raise BadInputError(
            f"{name}: found {len(source):,} images, expected {expected:,}; complete the dataset, or accept its images "
            "with --any-count"
        )


def check_classes(labels: np.ndarray, classes: int, what: str) -> None:
    """BadInputError unless each class has an image and no label is beyond them: samples are made of every class.

    Args:
        labels: (count,) integers, 0 or more.
        classes: number of classes; 0 if there are none, and all labels are 0.
        what: what has these labels, for the message.
    """
    counts = np.bincount(labels, minlength=max(classes, 1))
    if len(counts) > max(classes, 1):
        raise BadInputError(
            f"{what}: label {len(counts) - 1} is beyond the {classes:,} classes of the networks; leave out what is not "
            "in the published dataset, or give every command --classes N for a dataset of N classes"
        )
    if missing := np.flatnonzero(counts == 0).tolist():
        raise BadInputError(
            f"{what}: no images of {len(missing):,} of {classes:,} classes (labels {first_few(missing)}), "
            "but samples are made of all; complete the dataset, or give every command --classes N for a dataset of N "
            "classes"
        )


def dataset_digest(labels: np.ndarray, hashes: np.ndarray) -> str:
    """SHA-256, in hex, over labels and image files in order. It does not depend on file names or on packing.

    Args:
        labels: (count,), hashed as little-endian int64.
        hashes: (count, 32) uint8, SHA-256 of each image file (`bench.data.decoding.decode_and_hash`).
    """
    if hashes.shape != (len(labels), 32) or hashes.dtype != np.uint8:
        raise ValueError(f"hashes {hashes.shape} {hashes.dtype} do not fit {len(labels)} labels")
    hasher = sha256(labels.astype("<i8").tobytes())
    hasher.update(hashes.tobytes())
    return hasher.hexdigest()
