"""Images from a trained network, with diffusers' habits.

pipe = SamplingPipeline.from_pretrained("results/demo/digits/checkpoints/fpdm-...")
output = pipe(class_labels=[0, 1, 2, 3], num_inference_steps=40, iterations=5, sampler="ddim", generator=0)
output.images, output.cost
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from bench.machine.devices import pick_device
from bench.sampling.decoding import Decoder, load_autoencoder
from bench.system.errors import BadInputError
from models.autoencoder import PixelAutoencoder
from models.config import ModelConfig
from models.diffusion.samplers import SAMPLERS, get_sampler
from models.diffusion.sampling import Guidance, SampleNoise, sample
from models.diffusion.timesteps import SPACINGS, TIMESTEPS, make_schedule, select_timesteps
from models.families import build, family_of, forward_macs, forward_passes
from models.networks.network import Network
from models.pretrained import PIXELS, Description, load_network
from models.process import OFFICIAL_DIT, Process
from models.released import load_released

_STREAMS = 2**31  # seeds that a generator draws from


@dataclass(frozen=True)
class Cost:
    """What an image cost, as the tables count it, without guidance's second half; and the seconds of all images."""

    block_passes: int
    injections: int
    macs: int
    seconds: float


@dataclass(frozen=True)
class SamplingOutput:
    """Images with their labels and cost.

    Attributes:
        images: pictures.
        pixels: the same as a tensor, uint8 (images, channels, size, size), on the CPU.
        labels: of the images.
        cost: of the sampling run.
    """

    images: list[Image.Image]
    pixels: Tensor
    labels: list[int]
    cost: Cost


class SamplingPipeline:
    """Samples images from a network.

    Args:
        network: the network with its weights.
        description: its configuration, process and autoencoder.
        device: where it runs.
        vae: hub id or folder of an autoencoder in place of the description's.

    Raises:
        BadInputError: the autoencoder cannot be loaded.
    """

    def __init__(
        self, network: Network, description: Description, device: torch.device | str = "auto", vae: str | None = None
    ) -> None:
        self.device = pick_device(str(device))
        self.description = description
        self.network = network.to(self.device).eval()
        self._noise_schedule = description.process.noise_schedule()
        name = vae or description.autoencoder
        self._decoder: Decoder = PixelAutoencoder() if name == PIXELS else load_autoencoder(name, self.device)

    @classmethod
    def from_pretrained(
        cls, where: str | Path, device: torch.device | str = "auto", vae: str | None = None
    ) -> "SamplingPipeline":
        """The pipeline of a folder or hub id (`models.pretrained`): a finished run's checkpoint folder is one.

        Raises:
            BadInputError: there is no such folder or id, it is damaged, or its autoencoder cannot be loaded.
        """
        try:
            return cls(*load_network(where), device, vae)
        except (OSError, ValueError) as error:
            raise BadInputError(f"{where}: no network to sample from ({error})") from error

    @classmethod
    def from_released(
        cls,
        state_dict: Mapping[str, Tensor],
        config: ModelConfig,
        process: Process = OFFICIAL_DIT,
        autoencoder: str = PIXELS,
        device: torch.device | str = "auto",
    ) -> "SamplingPipeline":
        """The pipeline of a state dict of the official DiT or the released FPDM. BadInputError if it does not fit."""
        network = build(config)
        try:
            load_released(network, state_dict)
        except ValueError as error:
            raise BadInputError(str(error)) from error
        return cls(network, Description(config, process, autoencoder), device)

    def __call__(
        self,
        class_labels: Sequence[int],
        num_inference_steps: int = 50,
        iterations: int | None = None,
        sampler: str = "ddpm",
        guidance_scale: float = 1.0,
        guidance_channels: int | None = None,
        generator: torch.Generator | int | None = None,
        reuse: bool = True,
        spacing: str = "linspace",
    ) -> SamplingOutput:
        """Sample one image of each label, all in one batch.

        Args:
            class_labels: a label for each image.
            num_inference_steps: sampling steps.
            iterations: of each evaluation, for networks that iterate; by default the configuration's number.
            sampler: a name of `models.diffusion.samplers`.
            guidance_scale: scale of classifier-free guidance; 1 samples without.
            guidance_channels: first channels that are guided; by default all of the input (the official DiT: 3 of 4).
            generator: a seed, whose image i is the image i that a grid samples with this seed, or a generator that a
                seed is drawn from. By default the images differ from call to call.
            reuse: start each evaluation's iteration from the solution of the one before.
            spacing: of the timesteps, "linspace" or "trailing".

        Raises:
            BadInputError: an argument is out of its range, or the network does not take it.
        """
        config = self.description.config
        counts = self._counts(num_inference_steps, iterations)
        self._check(class_labels, sampler, spacing)
        guidance = None
        if guidance_scale != 1:
            channels = config.in_channels if guidance_channels is None else guidance_channels
            guidance = Guidance(guidance_scale, channels, config.num_classes)
        shape = (config.in_channels, config.input_size, config.input_size)
        started = time.perf_counter()
        sampled = sample(
            self.description.process.denoiser(self.network),
            self._noise_schedule,
            make_schedule(select_timesteps(num_inference_steps, spacing), counts),
            torch.tensor(list(class_labels), device=self.device),
            SampleNoise(_seed(generator), range(len(class_labels)), shape, self.device),
            sampler=sampler,
            reuse=reuse,
            guidance=guidance,
        )
        images = self._decoder.decode(sampled.x).cpu()
        seconds = time.perf_counter() - started
        made = get_sampler(sampler).tally(counts)
        passes, injections, macs = (
            sum(times * price(config, count) for count, times in made.items())
            for price in (forward_passes, family_of(config).injections, forward_macs)
        )
        return SamplingOutput(to_pil(images), images, list(class_labels), Cost(passes, injections, macs, seconds))

    def _counts(self, steps: int, iterations: int | None) -> tuple[int, ...]:
        """The number that the network's `predict` gets at each step."""
        if not 1 <= steps <= TIMESTEPS:
            raise BadInputError(f"{steps} steps: must be 1 to {TIMESTEPS}")
        config = self.description.config
        family = family_of(config)
        if not family.iterates and not family.settings:
            if iterations is not None:
                raise BadInputError(f"{iterations} iterations: {family.label} does not iterate; leave them out")
            return (0,) * steps
        number = (config.iterations if family.iterates else family.settings[0]) if iterations is None else iterations
        if number < 1:
            raise BadInputError(f"{number} iterations: must be 1 or more")
        return family.counts(config, (number,) * steps)

    def _check(self, labels: Sequence[int], sampler: str, spacing: str) -> None:
        classes = self.description.config.num_classes
        if not labels:
            raise BadInputError("no labels: give one for each image")
        if wrong := [label for label in labels if not 0 <= label < max(classes, 1)]:
            raise BadInputError(f"label {wrong[0]}: this network has the labels 0 to {max(classes, 1) - 1}")
        for value, choices in ((sampler, SAMPLERS), (spacing, SPACINGS)):
            if value not in choices:
                raise BadInputError(f"{value!r}: choose one of {', '.join(choices)}")


def _seed(generator: torch.Generator | int | None) -> int:
    if isinstance(generator, int):
        return generator
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(_STREAMS, (1,), generator=generator, device=device))


def to_pil(images: Tensor) -> list[Image.Image]:
    """uint8 (images, channels, size, size) with 1 or 3 channels -> pictures."""
    arrays = images.permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array) for array in arrays]
