"""Fashion-MNIST: grey 28x28 images of ten kinds of clothes, 60,000 to train on, 10,000 to test on (Xiao et al. 2017).

The four files in IDX format, as torchvision downloads them (FashionMNIST/raw/) or as Debian's dataset-fashion-mnist
installs them; compressed or not. Networks and feature extractors see them padded to 32x32, a power of two.
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

USUAL = (Path("data"), Path("/usr/share/datasets/fashion-mnist"))  # torchvision's, told to use data/; Debian's
PADDING = 2  # black pixels on each side
_STEMS = {"train": "train", "test": "t10k"}
DIGESTS = {
    "train": "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a",
    "test": "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e",
}


def usual() -> Path | None:
    """The first of the usual folders that has the training images; None if none has."""
    return next((folder for folder in USUAL if _file(folder, _name("train", "images", 3)) is not None), None)


def find() -> Path:
    """The same; BadInputError, with how to get them, if there is none."""
    if (folder := usual()) is not None:
        return folder
    raise BadInputError(
        f"no Fashion-MNIST in {' or '.join(map(str, USUAL))}: name its folder with --data; to download it, "
        """python -c "from torchvision.datasets import FashionMNIST; FashionMNIST('data', download=True)\""""
    )


def load_padded(folder: Path | None = None, split: str = "train") -> ImageData:
    """A split with images padded to (count, 1, 32, 32), from a folder, or by default from a usual one.

    Raises:
        BadInputError: as `load`.
    """
    data = load(find() if folder is None else folder, split)
    return ImageData(F.pad(data.images, (PADDING,) * 4), data.labels)


def load(path: Path, split: str = "train") -> ImageData:
    """Images (60000, 1, 28, 28) uint8 and labels 0..9 of a split, "train" or "test" (10000).

    Args:
        path: the folder that has the files, or FashionMNIST/raw/ with them in it.
        split: which of the two.

    Raises:
        BadInputError: files are missing or damaged, or are not those of Fashion-MNIST.
    """
    if split not in _STEMS:
        raise BadInputError(f"split {split!r} of Fashion-MNIST: unknown; choose from {', '.join(_STEMS)}")
    images = torch.from_numpy(_read(path, _name(split, "images", 3), 3)).unsqueeze(1)
    labels = torch.from_numpy(_read(path, _name(split, "labels", 1), 1).astype(np.int64))
    data = ImageData(images, labels)
    if data.digest != DIGESTS[split]:
        raise BadInputError(
            f"{path}: {split} images have digest {data.digest[:12]}, Fashion-MNIST has {DIGESTS[split][:12]}: "
            "download it again"
        )
    return data


def _name(split: str, what: str, dimensions: int) -> str:
    return f"{_STEMS[split]}-{what}-idx{dimensions}-ubyte"


def _file(path: Path, name: str) -> Path | None:
    folders = (path, path / "raw", path / "FashionMNIST" / "raw")
    found = (folder / f"{name}{suffix}" for folder in folders for suffix in ("", ".gz"))
    return next((candidate for candidate in found if candidate.is_file()), None)


def _read(path: Path, name: str, dimensions: int) -> np.ndarray:
    """An array from a file in IDX format: two zero bytes, type (8: uint8), dimensions, sizes (big-endian), values."""
    if (file := _file(path, name)) is None:
        raise BadInputError(f"{path}: no {name} or {name}.gz there; expected the four files of Fashion-MNIST")
    try:
        content = file.read_bytes()
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
