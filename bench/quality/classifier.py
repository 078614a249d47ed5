"""Small classifiers whose features judge the images of pixel datasets. The repository ships their weights.

`python -m bench.prepare.train_extractor` makes the weights; `bench.spec.extractors` registers their digests.
"""

import math
from hashlib import sha256
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from bench.quality.extractor import Extractor
from bench.spec.extractors import FeatureExtractor
from bench.system.errors import BadInputError
from bench.system.files import read_bytes, read_if_there

MAP_SIZE = 8  # largest input of the last convolution, pixels a side


class SmallClassifier(nn.Module):
    """Three convolutions, a hidden layer of `features` units, `num_classes` logits.

    The maps of the first and the last convolution are halved. Those of the second are halved if larger than MAP_SIZE.

    Args:
        in_channels: of the images.
        num_classes: number of labels.
        features: width of the hidden layer, whose outputs are the features.
        pooled: pixels a side of the last maps after halving: 2 for images of 8 pixels, 4 for 32.
    """

    def __init__(self, in_channels: int, num_classes: int, features: int = 64, pooled: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * pooled**2, features)
        self.head = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (batch, channels, size, size) -> features (batch, features) and logits (batch, num_classes)."""
        x = images.float() / 127.5 - 1
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        if x.shape[-1] > MAP_SIZE:
            x = F.max_pool2d(x, 2)
        x = F.relu(self.conv3(x))
        x = F.adaptive_avg_pool2d(x, x.shape[-1] // 2).flatten(1)
        features = F.relu(self.hidden(x))
        return features, self.head(features)


def weights_path(extractor: str) -> Path:
    """The safetensors file of a shipped extractor."""
    return Path(__file__).parent / "weights" / f"{extractor}.safetensors"


def weights_digest(content: bytes) -> str:
    """First 16 hex digits of the SHA-256 of a weights file."""
    return sha256(content).hexdigest()[:16]


def load_classifier(path: Path) -> SmallClassifier:
    """Read a classifier from a safetensors file. BadInputError if the file is missing or damaged."""
    if (content := read_if_there(path)) is None:
        raise BadInputError(f"extractor weights {path} cannot be read (no such file): restore the file")
    try:
        weights = load(content)
        model = SmallClassifier(
            in_channels=weights["conv1.weight"].shape[1],
            num_classes=weights["head.weight"].shape[0],
            features=weights["hidden.weight"].shape[0],
            pooled=math.isqrt(weights["hidden.weight"].shape[1] // 64),
        )
        model.load_state_dict(weights)
    except Exception as error:
        raise BadInputError(f"extractor weights {path} cannot be read ({error}): restore the file") from error
    return model.eval().requires_grad_(False)


def load_shipped(
    extractor: FeatureExtractor, device: torch.device, _weights: Path | None, _images: Tensor | None = None
) -> Extractor:
    """A shipped extractor on a device. BadInputError if its weights are missing, damaged or not the registered ones."""
    path = weights_path(extractor.name)
    classifier = load_classifier(path)
    if (found := weights_digest(read_bytes(path))) != extractor.digest:
        raise BadInputError(
            f"extractor weights {path} have digest {found}, bench/spec/extractors.py registers {extractor.digest}: "
            "restore the file, or register the new weights"
        )
    return Extractor(classifier, extractor.name, found, classifier.hidden.out_features, device)
