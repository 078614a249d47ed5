"""Feature extractors on a device: images -> features."""

from pathlib import Path
from pkgutil import resolve_name

import torch
from torch import Tensor, nn

from bench.spec.extractors import SECOND_EXTRACTORS, get_extractor


class Extractor:
    """Images -> features: one network with one set of weights on one device.

    Args:
        network: uint8 images (batch, channels, size, size) -> a tuple whose first item is (batch, dimensions).
        name: of the network.
        digest: of its weights. Numbers of different digests are never compared.
        dimensions: length of a feature vector.
        device: where features are computed.
    """

    def __init__(self, network: nn.Module, name: str, digest: str, dimensions: int, device: torch.device) -> None:
        self.name, self.digest, self.dimensions = name, digest, dimensions
        self._network, self._device = network.to(device), device

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (batch, channels, size, size) -> (batch, dimensions), float32 on the CPU.

        TF32 is off, so that GPUs with and without it give comparable features.
        """
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            return self._network(images.to(self._device))[0].cpu()


def make_extractor(
    name: str, device: torch.device, weights: Path | None = None, images: Tensor | None = None
) -> Extractor:
    """The registered extractor called `name` on a device.

    Args:
        name: as registered in `bench.spec.extractors`.
        device: where features are computed.
        weights: file with Inception's weights; None for torch-fidelity's download. Shipped extractors ignore it.
        images: the reference images, uint8 (count, channels, size, size), for an extractor that is fitted to them.

    Raises:
        BadInputError: the extractor is unknown, or its weights are missing, damaged or not the registered ones.
    """
    extractor = get_extractor(name)
    return resolve_name(extractor.loads)(extractor, device, weights, images)


def make_second(name: str, device: torch.device, weights: Path | None) -> Extractor:
    """The second extractor registered as `name`, with the weights of a file. Errors as in `make_extractor`."""
    extractor = SECOND_EXTRACTORS[name]
    return resolve_name(extractor.loads)(extractor, device, weights)
