"""scikit-learn's digits: 1,797 real handwritten digits of 8x8 pixels, part of its wheel (UCI optdigits, test set).

Its digest is in its registration, `bench.spec.datasets`.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits

from bench.data.pixels import ImageData
from bench.system.errors import BadInputError


def load(_folder: Path | None = None, _split: str = "train") -> ImageData:
    """Images (1797, 1, 8, 8) uint8, 17 grey levels spread over 0..255, and labels 0..9. There is no test split."""
    try:
        bunch = load_digits()
    except (OSError, EOFError, ValueError) as error:
        raise BadInputError(f"scikit-learn's digits cannot be read ({error}): reinstall scikit-learn") from error
    levels = torch.from_numpy(bunch.images)
    images = (levels * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    return ImageData(images.contiguous(), torch.from_numpy(bunch.target).to(torch.int64))
