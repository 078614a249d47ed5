"""Sampling over a schedule of steps, with solution reuse and classifier-free guidance.

A *schedule* is a tuple of `timesteps.Step`s, a *denoiser* a network that predicts v (`denoiser.Denoiser`), a *sampler*
an update from x_t to x_prev, which evaluates the denoiser once or more (`samplers.Sampler`). Noise comes from
`SampleNoise`, keyed by sample, so that samples do not depend on batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
        taken: iterations of each sample, summed over all evaluations of the network: (batch,), int64; (0,) if it has
            no iterations.
        executed: iterations that the whole batch ran, summed likewise: in each evaluation until its last sample was
            done.
        residuals: (iterations, batch) of each evaluation; empty if the solver does not record them.
    """

    x: Tensor
    taken: Tensor
    executed: int
    residuals: list[Tensor]


class _Run:
    """The evaluations of a sampling run: counted, and each started from the state that the one before returned."""

    def __init__(self, denoiser: Denoiser, y: Tensor, reuse: bool, guidance: Guidance | None) -> None:
        self._denoiser, self._reuse, self._guidance = denoiser, reuse, guidance
        self._labels = y if guidance is None else torch.cat([y, torch.full_like(y, guidance.null_label)])
        self._state: Any = None
        self.evaluations = self.executed = 0
        self.taken: Tensor | None = None
        self.residuals: list[Tensor] = []

    def evaluate(self, x: Tensor, t: int, solver: Solver) -> Tensor:
        """The prediction at x and t, guided, in float32."""
        inputs = x if self._guidance is None else torch.cat([x, x])
        output = self._denoiser.predict(inputs, torch.full_like(self._labels, t), self._labels, solver, self._state)
        self._state = output.state if self._reuse else None
        self.evaluations += 1
        if (solution := output.solution) is not None:
            self.taken = solution.evaluations if self.taken is None else self.taken + solution.evaluations
            self.executed += solution.executed
            if solution.residuals is not None:
                self.residuals.append(solution.residuals)
        prediction = output.value.float()
        return prediction if self._guidance is None else self._guidance.apply(*prediction.chunk(2))


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
        schedule: the steps, noisiest first. A step's number of iterations is that of each of its evaluations.
        y: (batch,) labels.
        noise: initial and step noise of these samples.
        sampler: a name in `samplers.SAMPLERS`.
        reuse: start each evaluation's iteration from the previous one's solution (paper, Sec. 3.3).
        solver: makes the solver of an evaluation from its number of iterations; networks without iterations ignore it.
        guidance: classifier-free guidance, both halves in one batch; None to sample without.

    Raises:
        ValueError: unknown sampler.
        RuntimeError: the sampler makes more or fewer evaluations than it is registered with.
    """
    chosen = get_sampler(sampler)
    update, run = chosen.make(noise_schedule, schedule), _Run(denoiser, y, reuse, guidance)
    x = noise.draw()
    for step in schedule:
        before, due = run.evaluations, chosen.at(step)
        x = update(x, step, partial(run.evaluate, solver=solver(step.iterations)), noise.draw)
        if (made := run.evaluations - before) != due:
            raise RuntimeError(f"sampler {sampler}: {made} evaluations at {step}, but it is registered with {due}")
    taken = torch.zeros(0, dtype=torch.int64, device=x.device) if run.taken is None else run.taken
    return Sampled(x, taken, run.executed, run.residuals)
