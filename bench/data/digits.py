"""scikit-learn's digits: 1,797 real handwritten digits of 8x8 pixels, part of its wheel (UCI optdigits, test set).

380 of them, 38 of each label, are held out. Nothing is trained on these. Its digests are in its registration,
`bench.spec.datasets`.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits

from bench.data.pixels import ImageData
from bench.system.errors import BadInputError

HELD_OUT = 38  # images of each label


def load(_folder: Path | None = None, split: str = "train") -> ImageData:
    """Images (1417 or, of the split "test", 380, 1, 8, 8) uint8, 17 grey levels over 0..255, and labels 0..9.

    Held-out images are spread evenly over the images of their label: writers come one after the other.
    """
    try:
        bunch = load_digits()
    except (OSError, EOFError, ValueError) as error:
        raise BadInputError(f"scikit-learn's digits cannot be read ({error}): reinstall scikit-learn") from error
    levels = torch.from_numpy(bunch.images)
    images = (levels * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        places = (labels == label).nonzero().flatten()
        held_out[places[torch.arange(HELD_OUT) * len(places) // HELD_OUT]] = True
    chosen = held_out if split == "test" else ~held_out
    return ImageData(images[chosen].contiguous(), labels[chosen])
