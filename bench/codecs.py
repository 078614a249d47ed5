"""What makes images of samples: nothing but rounding in pixel suites, an autoencoder's decoder in latent ones."""

from typing import Protocol

import torch
from torch import Tensor

from bench.assets import Assets
from bench.data import is_latent
from bench.errors import BadInputError
from models.autoencoder import LatentAutoencoder, PixelAutoencoder

USUAL_VAE = "stabilityai/sd-vae-ft-ema"  # on the Hugging Face hub; DiT was trained in its latents


class Codec(Protocol):
    """Makes images of what networks see."""

    def decode(self, x: Tensor) -> Tensor:
        """(batch, channels, size, size) -> images, uint8 (batch, channels, pixels, pixels)."""


def load_codec(dataset: str, assets: Assets, device: torch.device) -> Codec:
    """The codec of a dataset's samples, on a device. BadInputError if its autoencoder cannot be had."""
    if not is_latent(dataset):
        return PixelAutoencoder()
    name = assets.vae or USUAL_VAE
    try:
        return LatentAutoencoder.load(name, device)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"--vae {name}: {error}; name a folder with an AutoencoderKL, or an id on the hub"
        ) from error
