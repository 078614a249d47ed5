"""Principal components of pixels as features: for any images, without weights, and weak.

A distance in them sees brightness, colours and coarse shapes, not what is shown. They are fitted to the reference
images, whose digest is part of every cell's protocol.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from bench.quality.extractor import Extractor
from bench.quality.reference_statistics import kept_indices
from bench.spec.extractors import FeatureExtractor

COMPONENTS, FITTED, LARGEST = 64, 2000, 32  # features; images that they are fitted to; pixels a side that are looked at


class PixelComponents(nn.Module):
    """Projection of pixels in -1..1, larger images averaged to LARGEST pixels a side, on the first components.

    Args:
        images: uint8 (count, channels, size, size), two or more, to fit the components to.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        pixels = self._pixels(images[kept_indices(len(images), FITTED)]).double()
        mean = pixels.mean(0)
        components = torch.linalg.svd(pixels - mean, full_matrices=False).Vh[:COMPONENTS]
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", components.float())

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """uint8 (batch, channels, size, size) -> (batch, components)."""
        return ((self._pixels(images) - self.mean) @ self.components.T,)

    def _pixels(self, images: Tensor) -> Tensor:
        scaled = images.float() / 127.5 - 1
        return nn.functional.adaptive_avg_pool2d(scaled, min(LARGEST, images.shape[-1])).flatten(1)


def load_pixels(
    extractor: FeatureExtractor, device: torch.device, _weights: Path | None, images: Tensor | None
) -> Extractor:
    """The extractor, fitted to the reference images. ValueError without any."""
    if images is None:
        raise ValueError(f"extractor {extractor.name} is fitted to reference images, and there are none")
    network = PixelComponents(images)
    return Extractor(network, extractor.name, extractor.digest, len(network.components), device)
