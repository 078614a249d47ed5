"""Euler's and Heun's method on the probability-flow ODE, as in EDM (Karras et al. 2022, Algorithm 1).

With sigma = sqrt(1 - abar) / sqrt(abar) the ODE is d(x / sqrt(abar)) / d sigma = eps(x, sigma). Its Euler step

    x' / sqrt(abar') = x / sqrt(abar) + (sigma' - sigma) eps    or    x' = sqrt(abar') x_0 + sqrt(1 - abar') eps

is DDIM's. Heun evaluates eps' at x' too, and takes the mean of eps and eps'.

With zero terminal SNR the first sigma is infinite. There the step is taken in 1 / sigma, in which the same ODE is
d(x / sqrt(1 - abar)) / d(1 / sigma) = x_0(x, sigma): Euler's step is the same, and Heun takes the mean of x_0 and x_0'.
At the data, sigma = 0, there is no network to evaluate: the last step is Euler's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.diffusion.samplers.ddim import ddim, estimate
from models.diffusion.samplers.registry import Draw, Evaluate, Update, register
from models.diffusion.timesteps import Step

if TYPE_CHECKING:
    from torch import Tensor

    from models.diffusion.schedule import NoiseSchedule


register("euler", "Euler", "#56b4e9", "v")(ddim)


@register("heun", "Heun", "#d55e00", "P", evaluations=2)
def _heun(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    def update(x: Tensor, step: Step, evaluate: Evaluate, draw: Draw) -> Tensor:
        x0, noise = estimate(noise_schedule, x, step.t, evaluate)
        ahead = noise_schedule.add_noise(x0, noise, step.t_prev)
        if step.t_prev < 0:
            return ahead
        x0_ahead, noise_ahead = estimate(noise_schedule, ahead, step.t_prev, evaluate)
        abar, abar_ahead = (noise_schedule.abar(t, x) for t in (step.t, step.t_prev))
        if abar == 0:
            return ahead + (abar_ahead.sqrt() / 2).to(x.dtype) * (x0_ahead - x0)
        sigma, sigma_ahead = (((1 - one) / one).sqrt() for one in (abar, abar_ahead))
        return ahead + (abar_ahead.sqrt() * (sigma_ahead - sigma) / 2).to(x.dtype) * (noise_ahead - noise)

    return update
