"""What makes images of samples: nothing but rounding in pixel suites, an autoencoder's decoder in latent ones."""

from typing import Protocol

import torch
from torch import Tensor

from bench.data.latents import MANIFEST, read_manifest
from bench.spec.assets import VAE, Assets
from bench.spec.cells import TrainingRun
from bench.spec.datasets import is_latent
from bench.system.errors import BadInputError
from models.autoencoder import LatentAutoencoder, PixelAutoencoder


class Codec(Protocol):
    """Makes images of what networks see."""

    def decode(self, x: Tensor) -> Tensor:
        """(batch, channels, size, size) -> images, uint8 (batch, channels, pixels, pixels)."""


def load_codec(run: TrainingRun, assets: Assets, device: torch.device, trained_with: str | None = None) -> Codec:
    """The codec of a run's samples, on a device.

    In a latent suite it is the autoencoder that `assets` names, else the one that the latents were encoded with. Where
    the latents are not there, that is taken to be the usual one. `trained_with` is the digest of the autoencoder that
    the run's latents came from, if it is known.

    Raises:
        BadInputError: it cannot be loaded, or is not the one that the run was trained with.
    """
    if not is_latent(run.dataset):
        return PixelAutoencoder()
    latents = assets.latents(run.suite)
    encoded_with = read_manifest(latents)["vae"] if (latents / MANIFEST).exists() else None
    name = assets.vae or (encoded_with["source"] if encoded_with else VAE)
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
