"""Fashion-MNIST: grey 28x28 images of ten kinds of clothes, 60,000 for training and 10,000 for testing.

Xiao et al. 2017. The four files are in IDX format, compressed or not, as torchvision downloads them (FashionMNIST/raw/)
or as Debian's dataset-fashion-mnist installs them. Networks and feature extractors see them padded to 32x32 pixels.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bench.data.pixels import ImageData
from bench.system.errors import BadInputError
from bench.system.files import read_bytes

USUAL = (Path("data"), Path("/usr/share/datasets/fashion-mnist"))  # torchvision's with root data/; Debian's
PADDING = 2  # black pixels on each side
_STEMS = {"train": "train", "test": "t10k"}


def usual() -> Path | None:
    """The first of the usual folders that has the training images, or None."""
    return next((folder for folder in USUAL if _file(folder, _name("train", "images", 3)) is not None), None)


def load(folder: Path | None = None, split: str = "train") -> ImageData:
    """Images (60000 or 10000, 1, 32, 32) uint8 with black borders, and labels 0..9.

    Args:
        folder: has the files, or FashionMNIST/raw/ with the files in it; None for the first usual folder.
        split: "train" or "test".

    Raises:
        BadInputError: a file is missing or damaged, or no usual folder has the files.
    """
    if split not in _STEMS:
        raise BadInputError(f"split {split!r} of Fashion-MNIST: unknown; choose from {', '.join(_STEMS)}")
    if (folder := folder or usual()) is None:
        raise BadInputError(
            f"no Fashion-MNIST in {' or '.join(map(str, USUAL))}: give its folder by --data; to download it, run "
            """python -c "from torchvision.datasets import FashionMNIST; FashionMNIST('data', download=True)\""""
        )
    images = torch.from_numpy(_read(folder, _name(split, "images", 3), 3)).unsqueeze(1)
    labels = torch.from_numpy(_read(folder, _name(split, "labels", 1), 1).astype(np.int64))
    return ImageData(F.pad(images, (PADDING,) * 4), labels)


def _name(split: str, what: str, dimensions: int) -> str:
    return f"{_STEMS[split]}-{what}-idx{dimensions}-ubyte"


def _file(path: Path, name: str) -> Path | None:
    folders = (path, path / "raw", path / "FashionMNIST" / "raw")
    found = (folder / f"{name}{suffix}" for folder in folders for suffix in ("", ".gz"))
    return next((candidate for candidate in found if candidate.is_file()), None)


def _read(path: Path, name: str, dimensions: int) -> np.ndarray:
    """The array in an IDX file: two zero bytes, type (8 for uint8), dimensions, sizes (big-endian), values."""
    if (file := _file(path, name)) is None:
        raise BadInputError(f"{path}: no {name} or {name}.gz there; expected the four files of Fashion-MNIST")
    content = read_bytes(file)
    try:
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        header, shape = content[:4], struct.unpack_from(f">{dimensions}I", content, 4)
        if header != bytes((0, 0, 8, dimensions)):
            raise ValueError(f"header {header.hex()}")
        values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
        if len(values) != math.prod(shape):
            raise ValueError(f"{len(values)} values, expected {math.prod(shape)}")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise BadInputError(f"{file}: damaged ({error}); download it again") from error
    return values.reshape(shape).copy()
