"""Datasets of pixels in memory: images and labels, checked against the digest of their registration."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bench.spec.datasets import DIGESTS
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
        """SHA-256 over images, then labels."""
        hasher = sha256(self.images.numpy().tobytes())
        hasher.update(self.labels.numpy().tobytes())
        return hasher.hexdigest()

    def balanced(self, count: int) -> Tensor:
        """Images whose labels go round 0, 1, ..., as those of generated ones do: (count, channels, height, width).

        Raises:
            ValueError: too few of a label.
        """
        classes = int(self.labels.max()) + 1
        of_label = [(self.labels == label).nonzero().flatten().tolist() for label in range(classes)]
        if min(map(len, of_label)) * classes < count:
            raise ValueError(f"{count} images with balanced labels: there are {min(map(len, of_label))} of a label")
        return self.images[[of_label[i % classes][i // classes] for i in range(count)]]


def load_dataset(name: str, folder: Path | None = None) -> ImageData:
    """Load what is trained on of the dataset called `name`, and check that it is the one that its digest names.

    Args:
        name: "digits" or "fashion".
        folder: where the files of a dataset are that does not come with a package; None for where they usually are.

    Raises:
        BadInputError: it is missing or damaged, or another.
    """
    from bench.data import digits, fashion

    data = digits.load() if name == "digits" else fashion.load_padded(folder)
    if data.digest != DIGESTS[name]:
        raise BadInputError(
            f"dataset {name} has digest {data.digest[:12]}, expected {DIGESTS[name][:12]}: reinstall what it comes with"
        )
    return data


def load_held_out(folder: Path | None = None) -> ImageData:
    """The test split of `fashion`, the one dataset in HELD_OUT; arguments and errors as those of `load_dataset`."""
    from bench.data import fashion

    return fashion.load_padded(folder, "test")
