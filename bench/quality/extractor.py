"""Feature extractors: Inception, or for the embedded suites small classifiers that the repository trains and ships.

The classifiers are registered with torch-fidelity under a name that holds their digest, so that numbers of different
extractors cannot be taken for each other. `train_extractor.py` makes their weights.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorBase, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

from bench.quality.extractor_weights import INCEPTION, extractor_digest, weights_path
from bench.quality.inception import load_inception
from bench.system.errors import BadInputError

MAP_SIZE = 8  # pixels a side that the last convolution is given at most


class SmallClassifier(nn.Module):
    """Three convolutions, `features` units, `num_classes` logits.

    The maps of the first and the last convolution are halved, and those of the second, too, if larger than MAP_SIZE.

    Args:
        in_channels: of the images.
        num_classes: labels.
        features: width of the penultimate layer, the features of the Frechet distance.
        pooled: pixels a side of the last maps, once halved: 2 for images of 8 pixels, 4 for 32.
    """

    def __init__(self, in_channels: int, num_classes: int, features: int = 64, pooled: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * pooled**2, features)
        self.head = nn.Linear(features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """uint8 (batch, channels, size, size) -> (batch, features), float32."""
        x = images.float() / 127.5 - 1
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        if x.shape[-1] > MAP_SIZE:
            x = F.max_pool2d(x, 2)
        x = F.relu(self.conv3(x))
        x = F.adaptive_avg_pool2d(x, x.shape[-1] // 2).flatten(1)
        return F.relu(self.hidden(x))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images -> logits (batch, num_classes)."""
        return self.head(self.features(images))


def load_classifier(path: Path) -> SmallClassifier:
    """Read a shipped classifier; BadInputError if the file is damaged."""
    try:
        weights = load_file(path)
        model = SmallClassifier(
            in_channels=weights["conv1.weight"].shape[1],
            num_classes=weights["head.weight"].shape[0],
            features=weights["hidden.weight"].shape[0],
            pooled=math.isqrt(weights["hidden.weight"].shape[1] // 64),
        )
        model.load_state_dict(weights)
    except Exception as error:
        raise BadInputError(f"extractor weights {path} are damaged ({error}): restore the file") from error
    return model.eval().requires_grad_(False)


class ClassifierFeatures(FeatureExtractorBase):
    """A SmallClassifier behind torch-fidelity's interface; layers "features" and "logits"."""

    weights: Path  # set by the subclass that is registered

    def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
        super().__init__(name, features_list)
        self.classifier = load_classifier(self.weights)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros((1, 1, 8, 8), dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.classifier.features(images)
        layers = {"features": features, "logits": self.classifier.head(features)}
        return tuple(layers[name] for name in self.features_list)


@cache
def registered_name(extractor: str) -> str:
    """Register a shipped extractor with torch-fidelity and return the name that it has there."""
    name = f"{extractor}-{extractor_digest(extractor)}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        cls = type("RegisteredClassifier", (ClassifierFeatures,), {"weights": weights_path(extractor)})
        register_feature_extractor(name, cls)
    return name


class Extractor:
    """Images -> features: one network with one set of weights on one device.

    Attributes:
        name: of the network.
        digest: of its weights; numbers of different digests are never compared.
        dimensions: of a feature vector.
    """

    def __init__(self, network: FeatureExtractorBase, name: str, digest: str, dimensions: int, device: torch.device):
        self.name, self.digest, self.dimensions = name, digest, dimensions
        self._network, self._device = network.to(device), device

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (batch, channels, size, size) -> (batch, dimensions), float32 on the CPU.

        TF32 is off, so that features of GPUs that have it compare with those of GPUs that do not.
        """
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            return self._network(images.to(self._device))[0].cpu()


def make_extractor(name: str, device: torch.device, weights: Path | None = None) -> Extractor:
    """The extractor called `name`, on a device.

    Args:
        name: of a shipped classifier, or INCEPTION.
        device: where features are computed.
        weights: file of Inception's; None for torch-fidelity's download.

    Raises:
        BadInputError: no such extractor; weights that are not its own, or cannot be had.
    """
    if name == INCEPTION:
        network, digest = load_inception(weights)
        return Extractor(network, name, digest, 2048, device)
    network = create_feature_extractor(registered_name(name), ["features"], cuda=False, verbose=False)
    return Extractor(network, name, extractor_digest(name), network.classifier.hidden.out_features, device)
