"""Images <-> what the networks see. Pixel suites use the identity in -1..1."""

import torch
from torch import Tensor


class PixelAutoencoder:
    """8-bit pixels (batch, channels, size, size) <-> float32 in -1..1 of the same shape."""

    def encode(self, images: Tensor) -> Tensor:
        return images.float() / 127.5 - 1

    def decode(self, x: Tensor) -> Tensor:
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
