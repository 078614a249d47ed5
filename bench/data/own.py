"""Any images in a folder or a zip file, in pixels: centre crops of one size, grey if all of them are.

A class is a folder: the first one of a file's path below the folder that all files share.
"""

from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.data.decoding import decode
from bench.data.image_files import open_files
from bench.data.images import UnreadableImageError, read_image
from bench.data.pixels import ImageData
from bench.spec.datasets import OWN
from bench.system.errors import BadInputError


class OwnData(NamedTuple):
    """Images uint8 (count, 1 or 3, size, size), labels int64 (count,), and the names of the classes, if any."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def load(folder: Path | None, split: str, image_size: int, channels: int, by_folder: bool) -> ImageData:
    """The images, as `read` makes them. BadInputError if no folder is given; else see `read`."""
    if folder is None:
        raise BadInputError(f"--suite {OWN}: give its images again, by --{'data' if split == 'train' else 'held-out'}")
    data = read(folder, image_size, by_folder)
    return ImageData(in_channels(data.images, channels), data.labels)


def in_channels(images: Tensor, channels: int) -> Tensor:
    """The images with 1 channel, the first of them, or with 3."""
    return images[:, :1].contiguous() if channels == 1 else images.expand(-1, 3, -1, -1).contiguous()


@lru_cache(maxsize=2)  # a command asks several times for the same images
def read(path: Path, image_size: int, by_folder: bool) -> OwnData:
    """Decode all images of a folder or zip file, in the order of their names.

    Raises:
        BadInputError: there is no image, one cannot be read, or images lie in no folder or all in one while folders
            are classes.
    """
    if not path.exists():
        raise BadInputError(f"{path}: no such folder or zip file of images")
    source = open_files(path)
    labels, classes = _labels([source.name(i) for i in range(len(source))], path) if by_folder else ([], ())
    images = np.empty((len(source), 3, image_size, image_size), np.uint8)
    for i in range(len(source)):
        try:
            images[i] = decode(read_image(source, i), image_size)
        except UnreadableImageError as error:
            raise BadInputError(f"{path}: {source.name(i)} cannot be read ({error}): repair or remove it") from error
    grey = (images == images[:, :1]).all()
    return OwnData(
        torch.from_numpy(images[:, :1].copy() if grey else images),
        torch.tensor(labels or [0] * len(source), dtype=torch.int64),
        classes,
    )


def _labels(names: list[str], path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Labels of the files, and the sorted names of their folders."""
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    while all(folders) and len({parts[0] for parts in folders}) == 1:
        folders = [parts[1:] for parts in folders]
    if not all(folders):
        alone = names[folders.index(())]
        raise BadInputError(
            f"{path}: {alone} lies in no folder of a class; put each class in a folder, or leave out --classes"
        )
    classes = tuple(sorted({parts[0] for parts in folders}))
    return [classes.index(parts[0]) for parts in folders], classes
