"""Pixel datasets in memory: images and labels, checked against the digest of their registration."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from bench.spec.datasets import get_dataset
from bench.system.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ImageData:
    """A dataset in memory: images (count, channels, height, width) uint8, labels (count,) int64."""

    images: Tensor
    labels: Tensor

    @property
    def digest(self) -> str:
        """SHA-256, in hex, over images, then labels."""
        hasher = sha256(self.images.numpy().tobytes())
        hasher.update(self.labels.numpy().tobytes())
        return hasher.hexdigest()

    def balanced(self, count: int) -> Tensor:
        """`count` images whose labels cycle through 0, 1, ..., as labels of samples do: (count, channels, h, w).

        Raises:
            ValueError: a label has too few images.
        """
        classes = int(self.labels.max()) + 1
        of_label = [(self.labels == label).nonzero().flatten().tolist() for label in range(classes)]
        if min(map(len, of_label)) * classes < count:
            raise ValueError(f"{count} images with balanced labels: there are {min(map(len, of_label))} of a label")
        return self.images[[of_label[i % classes][i // classes] for i in range(count)]]


def load_dataset(name: str, folder: Path | None = None) -> ImageData:
    """Load the training images of the pixel dataset called `name`.

    Args:
        name: of a dataset of kind "pixels".
        folder: has the dataset's files; None for the usual folder. Ignored if a package ships the dataset.

    Raises:
        BadInputError: the dataset is unknown, missing or damaged, or its digest is not the registered one.
    """
    return _load(name, folder, "train", get_dataset(name).digest)


def load_held_out(name: str, folder: Path | None = None, digest: str = "") -> ImageData:
    """Load the test images of the pixel dataset called `name`. Arguments and errors as in `load_dataset`.

    `digest`: theirs, where the registration does not have it. ValueError if the dataset has no test images.
    """
    if held_out := get_dataset(name).held_out:
        digest = held_out.digest
    if not digest:
        raise ValueError(f"dataset {name} has no test images")
    return _load(name, folder, "test", digest)


def _load(name: str, folder: Path | None, split: str, digest: str) -> ImageData:
    dataset = get_dataset(name)
    data = resolve_name(dataset.opens)(folder, split, *dataset.arguments)
    if data.digest != digest:
        if dataset.arguments:
            raise BadInputError(f"{folder}: other images than before (digest {data.digest[:12]}, then {digest[:12]})")
        raise BadInputError(
            f"dataset {name}: {split} images have digest {data.digest[:12]}, expected {digest[:12]}: download it again "
            "or reinstall the package that ships it"
        )
    return data
