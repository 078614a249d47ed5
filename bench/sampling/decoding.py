"""Decoding of samples to images: rounding in pixel suites, an autoencoder's decoder in latent ones."""

from typing import Protocol

import torch
from torch import Tensor

from bench.data.latents import MANIFEST, read_manifest
from bench.spec.arguments import VAE, Places
from bench.spec.cells import TrainingRun
from bench.spec.datasets import get_dataset
from bench.system.errors import BadInputError
from models.autoencoder import LatentAutoencoder, PixelAutoencoder


class Decoder(Protocol):
    """Makes images from a network's samples."""

    def decode(self, x: Tensor) -> Tensor:
        """(batch, channels, size, size) -> images, uint8 (batch, channels, pixels, pixels)."""


def load_decoder(run: TrainingRun, places: Places, device: torch.device, trained_with: str | None = None) -> Decoder:
    """The decoder of a run's samples, on a device.

    In a latent suite it is the autoencoder that `places` names, by default the one that the latents were encoded with,
    or `VAE` if the latents are missing. `trained_with` is the digest of the autoencoder that encoded the run's latents,
    if it is known.

    Raises:
        BadInputError: the autoencoder cannot be loaded, or is not the one that encoded the run's latents.
    """
    if not get_dataset(run.dataset).is_latent:
        return PixelAutoencoder()
    latents = places.latents(run.suite)
    encoded_with = read_manifest(latents)["vae"] if (latents / MANIFEST).exists() else None
    name = places.vae or (encoded_with["source"] if encoded_with else VAE)
    autoencoder = load_autoencoder(name, device)
    expected = trained_with or (encoded_with["digest"] if encoded_with else autoencoder.digest)
    if expected != autoencoder.digest:
        raise BadInputError(
            f"--vae {name}: digest {autoencoder.digest}, {run.name} was trained on latents of {expected}: give that one"
        )
    return autoencoder


def load_autoencoder(vae: str, device: torch.device) -> LatentAutoencoder:
    """The autoencoder of a hub id or a folder. BadInputError if it cannot be loaded."""
    try:
        return LatentAutoencoder.load(vae, device)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"--vae {vae}: cannot be loaded ({str(error).splitlines()[0]}); give a folder that has "
            f"an AutoencoderKL's config.json and safetensors weights, or where there is internet an id such as {VAE}"
        ) from error
