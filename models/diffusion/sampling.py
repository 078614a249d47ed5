"""Sampling: DDPM, DDIM, DPM-Solver++ and UniPC over a schedule of (t, t_prev) pairs, with solution reuse and guidance.

Three nouns: a *schedule* is a tuple of `Step`s; a *denoiser* is a network's view (`Denoiser`); a *sampler* is an update
from (x_t, prediction) to x_prev. Noise comes from `SampleNoise`, keyed by sample, so that batches do not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.diffusion.multistep import MULTISTEP, Multistep
from models.diffusion.randomness import generator
from models.diffusion.schedule import NoiseSchedule, data_from_velocity, noise_from_velocity, posterior
from models.fixed_point.solvers import FixedCount, Solver


class Denoiser(Protocol):
    """What a network offers to samplers and trainers: the place to plug a third model in.

    Called with x (batch, channels, size, size), t and y (batch,), the iterations to spend (ignored by explicit
    networks) and the state that the previous call returned (or None); returns prediction and state.
    """

    def predict(
        self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, init: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class Step:
    """One diffusion step: from timestep t to t_prev (-1: the data), spending `iterations`."""

    t: int
    t_prev: int
    iterations: int


def make_schedule(timesteps: Sequence[int], iterations: Sequence[int]) -> tuple[Step, ...]:
    """Pair each timestep, noisiest first, with its successor (-1 after the last) and its iterations."""
    successors = [*timesteps[1:], -1]
    return tuple(Step(*step) for step in zip(timesteps, successors, iterations, strict=True))


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: uncond + scale (cond - uncond) on the first `channels` channels of the prediction.

    Other channels, the learned variance among them, are the conditional prediction's. The official DiT guides 3 of
    the 4 latent channels. `null_label` is the label of the unconditional half.
    """

    scale: float
    channels: int
    null_label: int

    def apply(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        guided = unconditional[:, : self.channels].lerp(conditional[:, : self.channels], self.scale)
        return torch.cat([guided, conditional[:, self.channels :]], dim=1)


class SampleNoise:
    """Normal noise of given samples: initial noise and step noise of sample i depend on (seed, purpose, i) only."""

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


# (x, prediction, abar, abar_prev, draw noise) -> x_prev
Update = Callable[[Tensor, Tensor, Tensor, Tensor, Callable[[], Tensor]], Tensor]


def ddpm_update(x: Tensor, prediction: Tensor, abar: Tensor, abar_prev: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Ancestral step (Ho et al. 2020, Algorithm 2) with learned-range variance, or beta if none was predicted."""
    channels = x.shape[1]
    step = posterior(abar, abar_prev)
    mean = step.mean(data_from_velocity(x, prediction[:, :channels], abar), x)
    if abar_prev == 1:
        return mean  # the last step: no noise is added to data
    if prediction.shape[1] == channels:
        deviation = step.beta.sqrt().to(x.dtype)
    else:
        deviation = (0.5 * step.log_variance(prediction[:, channels:], torch.zeros_like(abar))).exp()
    return mean + deviation * draw()


def ddim_update(x: Tensor, prediction: Tensor, abar: Tensor, abar_prev: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Deterministic step (Song et al. 2021, Eq. 12 with sigma = 0)."""
    v = prediction[:, : x.shape[1]]
    x0, noise = data_from_velocity(x, v, abar), noise_from_velocity(x, v, abar)
    return abar_prev.sqrt().to(x.dtype) * x0 + (1 - abar_prev).sqrt().to(x.dtype) * noise


UPDATES: dict[str, Update] = {"ddpm": ddpm_update, "ddim": ddim_update}
SAMPLERS = (*UPDATES, *MULTISTEP)


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
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Draw samples.

    Args:
        denoiser: the network, in eval mode.
        noise_schedule: abar of the training process.
        schedule: the steps, noisiest first.
        y: (batch,) labels.
        noise: initial and step noise of these samples.
        sampler: one of `SAMPLERS`.
        reuse: start each step's iteration from the previous step's solution (paper, Sec. 3.3).
        solver: makes the solver that spends a step's iterations; explicit networks ignore it.
        guidance: classifier-free guidance, both halves in one batch; None for none.
        on_step: called after each step with the step and x (progress, strips of intermediate samples).

    Returns:
        (batch, channels, size, size), float32, not clipped.

    Raises:
        ValueError: unknown sampler.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    update = UPDATES[sampler] if sampler in UPDATES else Multistep(sampler, noise_schedule, schedule)
    x = noise.draw()
    labels = y if guidance is None else torch.cat([y, torch.full_like(y, guidance.null_label)])
    state: Tensor | None = None
    for step in schedule:
        inputs = x if guidance is None else torch.cat([x, x])
        t = torch.full_like(labels, step.t)
        prediction, solution = denoiser.predict(inputs, t, labels, solver(step.iterations), state)
        state = solution if reuse else None
        prediction = prediction.float()
        if guidance is not None:
            prediction = guidance.apply(*prediction.chunk(2))
        abar, abar_prev = noise_schedule.abar(step.t, x), noise_schedule.abar(step.t_prev, x)
        x = update(x, prediction, abar, abar_prev, noise.draw)
        if on_step is not None:
            on_step(step, x)
    return x
