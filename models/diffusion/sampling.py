"""Sampling over a schedule of steps, with solution reuse and classifier-free guidance.

A *schedule* is a tuple of `timesteps.Step`s, a *denoiser* a network that predicts v (`denoiser.Denoiser`), a *sampler*
an update from x_t and the prediction to x_prev (`samplers.Sampler`). Noise comes from `SampleNoise`, keyed by sample,
so that samples do not depend on batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.diffusion.denoiser import Denoiser
from models.diffusion.randomness import generator
from models.diffusion.samplers import get_sampler
from models.diffusion.schedule import NoiseSchedule
from models.diffusion.timesteps import Step
from models.fixed_point.solvers import FixedCount, Solver


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: uncond + scale (cond - uncond) on the first `channels` channels of the prediction.

    The other channels, which include the learned variance, are those of the conditional prediction. The official DiT
    guides 3 of the 4 latent channels. `null_label` is the label of the unconditional half.
    """

    scale: float
    channels: int
    null_label: int

    def apply(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        guided = unconditional[:, : self.channels].lerp(conditional[:, : self.channels], self.scale)
        return torch.cat([guided, conditional[:, self.channels :]], dim=1)


class SampleNoise:
    """Normal noise: the initial noise and the step noise of sample i depend on (seed, purpose, i) only."""

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        purpose: str = "sample",
    ) -> None:
        self._generators = [generator(seed, purpose, i) for i in indices]
        self._shape, self._device = shape, device

    def draw(self) -> Tensor:
        """The next noise of every sample, (batch, *shape), float32. The first draw is the initial noise."""
        drawn = torch.empty((len(self._generators), *self._shape), device="cpu")  # where the generators are
        for row, rng in zip(drawn, self._generators, strict=True):
            row.normal_(generator=rng)
        return drawn.to(self._device)


@dataclass(frozen=True)
class Sampled:
    """Samples and the iterations they took.

    With guidance the conditional and the unconditional half are one batch of twice the size, and `taken` and
    `residuals` cover both halves.

    Attributes:
        x: (batch, channels, size, size), float32, not clipped.
        taken: iterations of each sample, summed over the steps: (batch,), int64; (0,) if the network has no iterations.
        executed: iterations that the whole batch ran, summed over the steps: in each step until its last sample was
            done.
        residuals: (iterations, batch) of each step; empty if the solver does not record them.
    """

    x: Tensor
    taken: Tensor
    executed: int
    residuals: list[Tensor]


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    noise_schedule: NoiseSchedule,
    schedule: Sequence[Step],
    y: Tensor,
    noise: SampleNoise,
    *,
    sampler: str = "ddpm",
    reuse: bool = True,
    solver: Callable[[int], Solver] = FixedCount,
    guidance: Guidance | None = None,
) -> Sampled:
    """Sample images.

    Args:
        denoiser: the network, in eval mode.
        noise_schedule: abar of the training process.
        schedule: the steps, noisiest first.
        y: (batch,) labels.
        noise: initial and step noise of these samples.
        sampler: a name in `samplers.SAMPLERS`.
        reuse: start each step's iteration from the previous step's solution (paper, Sec. 3.3).
        solver: makes the solver of a step from its number of iterations; networks without iterations ignore it.
        guidance: classifier-free guidance, both halves in one batch; None to sample without.

    Raises:
        ValueError: unknown sampler.
    """
    update = get_sampler(sampler).make(noise_schedule, schedule)
    x = noise.draw()
    labels = y if guidance is None else torch.cat([y, torch.full_like(y, guidance.null_label)])
    state: Any = None
    taken: Tensor | None = None
    executed = 0
    residuals: list[Tensor] = []
    for step in schedule:
        inputs = x if guidance is None else torch.cat([x, x])
        t = torch.full_like(labels, step.t)
        output = denoiser.predict(inputs, t, labels, solver(step.iterations), state)
        state = output.state if reuse else None
        if (solution := output.solution) is not None:
            taken = solution.evaluations if taken is None else taken + solution.evaluations
            executed += solution.executed
            if solution.residuals is not None:
                residuals.append(solution.residuals)
        prediction = output.value.float()
        del output, solution  # else they would stay in memory during the next step
        if guidance is not None:
            prediction = guidance.apply(*prediction.chunk(2))
        abar, abar_prev = noise_schedule.abar(step.t, x), noise_schedule.abar(step.t_prev, x)
        x = update(x, prediction, abar, abar_prev, noise.draw)
    if taken is None:
        taken = torch.zeros(0, dtype=torch.int64, device=x.device)
    return Sampled(x, taken, executed, residuals)
