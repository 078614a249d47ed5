"""Training and sampling on noise: seconds and bytes do not depend on what a network has learned."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from bench.data.batches import Batch
from bench.machine.execution import EAGER, Execution
from bench.spec.contenders import TrainingRecipe
from bench.training.step import TrainingStep
from models.config import ModelConfig
from models.diffusion.sampling import SampleNoise, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS, make_schedule
from models.networks.network import Network


class NoiseSource:
    """Batches of noise, made on a device."""

    identity: dict[str, str] = {}  # noqa: RUF012, it stays empty

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        self._shape, self._device = (config.in_channels, config.input_size, config.input_size), device

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """A batch, or a part of one."""
        size = batch_size if part is None else len(part)
        x0, noise = (torch.randn(size, *self._shape, device=self._device) for _ in range(2))
        t, y = (torch.zeros(size, dtype=torch.int64, device=self._device) for _ in range(2))
        return Batch(x0, noise, t, y)


def training_step(
    model: Network,
    config: ModelConfig,
    batch_size: int,
    dtype: str,
    device: torch.device,
    execution: Execution = EAGER,
) -> TrainingStep:
    """The trainer's step on noise."""
    recipe = TrainingRecipe(seconds=0, batch_size=batch_size, learning_rate=1e-3)
    # at the default scale the first step might overflow and be skipped, without allocating the moments
    source = NoiseSource(config, device)
    return TrainingStep(model, recipe, device, source, execution=execution, dtype=dtype, init_scale=1.0)


def sample_twice(
    model: Network,
    config: ModelConfig,
    batch_size: int,
    iterations: int,
    autocast: Callable[[], AbstractContextManager],
) -> None:
    """Two steps of DDPM on the default device, the second from the state of the first."""
    y = torch.zeros(batch_size, dtype=torch.int64)
    noise = SampleNoise(0, range(batch_size), (config.in_channels, *[config.input_size] * 2), y.device)
    with torch.device("cpu"):  # its scalars belong there
        noise_schedule = linear_schedule(TIMESTEPS)
    steps = make_schedule((TIMESTEPS - 1, 0), (iterations, iterations))
    with autocast():
        sample(model, noise_schedule, steps, y, noise)
