"""Autoencoders between 8-bit images and the networks' inputs: pixels in -1..1, or Stable Diffusion's latents."""

import json
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.hub import download

_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
# The part of an AutoencoderKL's configuration that, with the weights' names and shapes, decides what it computes.
_IDENTITY = (
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "act_fn",
    "latent_channels",
    "norm_num_groups",
    "scaling_factor",
    "shift_factor",
)


class PixelAutoencoder:
    """8-bit pixels (batch, channels, size, size) <-> float32 in -1..1 of the same shape."""

    def encode(self, images: Tensor) -> Tensor:
        return images.float() / 127.5 - 1

    def decode(self, x: Tensor) -> Tensor:
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class LatentAutoencoder:
    """8-bit images <-> latents of a variational autoencoder (diffusers' AutoencoderKL), computed in float32.

    An image is encoded as mean and log-variance of its latent z. The networks' input is x0 = (z - shift) * scaling.

    Attributes:
        channels: channels of a latent.
        scaling_factor, shift_factor: scaling and shift of the formula above.
        downsampling: side of an image divided by the side of its latent.
    """

    def __init__(self, vae: Any, device: torch.device) -> None:
        self._vae = vae.to(device).eval().requires_grad_(False)
        self._device = device
        self.channels: int = vae.config["latent_channels"]
        self.scaling_factor = float(vae.config["scaling_factor"])
        self.shift_factor = float(vae.config["shift_factor"] or 0)
        self.downsampling = 2 ** (len(vae.config["block_out_channels"]) - 1)

    @classmethod
    def load(cls, id_or_folder: str, device: torch.device) -> "LatentAutoencoder":
        """Load from a folder (safetensors, as `save_pretrained` writes it) or by an id of the Hugging Face hub.

        Files in the hub's local cache are used without contacting the hub.

        Raises:
            OSError: no such folder, not in the hub's cache, and the hub cannot be reached or does not have it.
            ValueError: configuration or weights are damaged, or are not those of an AutoencoderKL.
        """
        from diffusers import AutoencoderKL
        from safetensors import SafetensorError

        folder = _find(id_or_folder)
        try:
            config = json.loads((folder / _FILES[0]).read_text())
            if not isinstance(config, dict) or config.get("_class_name") != "AutoencoderKL":
                raise ValueError(f"{_FILES[0]} is not an AutoencoderKL's")
            vae, info = AutoencoderKL.from_pretrained(
                folder,
                use_safetensors=True,
                torch_dtype=torch.float32,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
            if info["missing_keys"] or info["mismatched_keys"] or info["unexpected_keys"]:
                raise ValueError("the weights do not fit the configuration")
        except (SafetensorError, RuntimeError, TypeError, KeyError) as error:
            raise ValueError(str(error).splitlines()[0]) from error
        return cls(vae, device)

    @torch.inference_mode()
    def moments(self, images: Tensor) -> Tensor:
        """Mean and log-variance of the latents, concatenated along the channels.

        Args:
            images: (batch, 3, size, size) uint8; size is a multiple of `downsampling`.

        Returns:
            (batch, 2 * channels, size / downsampling, size / downsampling) float32, log-variance within -30..20.
        """
        with _exact_convolutions():
            posterior = self._vae.encode(PixelAutoencoder().encode(images.to(self._device))).latent_dist
        return torch.cat((posterior.mean, posterior.logvar), dim=1)

    @torch.inference_mode()
    def decode(self, x: Tensor, batch_size: int = 32) -> Tensor:
        """Latents as the networks use them, (batch, channels, height, width) -> uint8 images, `batch_size` at once."""
        decoded = []
        with _exact_convolutions():
            for part in x.split(batch_size):
                z = part.to(self._device, torch.float32) / self.scaling_factor + self.shift_factor
                decoded.append(PixelAutoencoder().decode(self._vae.decode(z).sample))
        return torch.cat(decoded)

    @property
    def digest(self) -> str:
        """16 hex digits of a SHA-256 over configuration and float32 weights; independent of where they came from."""
        config = {name: self._vae.config[name] for name in _IDENTITY}
        hasher = sha256(json.dumps(config).encode())
        for name, weight in sorted(self._vae.state_dict().items()):
            hasher.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            hasher.update(weight.cpu().contiguous().numpy())
        return hasher.hexdigest()[:16]


def _find(id_or_folder: str) -> Path:
    """The folder itself, or the folder of this id in the hub's cache, downloaded if necessary."""
    folder = Path(id_or_folder) if Path(id_or_folder).is_dir() else download(id_or_folder, _FILES)
    for name in _FILES:
        if not (folder / name).is_file():
            raise OSError(f"the folder has no {name}")
    return folder


def _exact_convolutions() -> AbstractContextManager[None]:
    """Convolutions in float32 instead of TF32, and deterministic."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
