"""DDPM: ancestral steps (Ho et al. 2020, Algorithm 2) with learned-range variance, or beta if none was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.diffusion.samplers.registry import Draw, Evaluate, Update, register
from models.diffusion.timesteps import Step

if TYPE_CHECKING:
    from torch import Tensor

    from models.diffusion.schedule import NoiseSchedule


@register("ddpm", "DDPM", "#0173b2", "o")
def _ddpm(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from models.diffusion.schedule import data_from_velocity, posterior

    def update(x: Tensor, step: Step, evaluate: Evaluate, draw: Draw) -> Tensor:
        prediction, channels = evaluate(x, step.t), x.shape[1]
        abar = noise_schedule.abar(step.t, x)
        q = posterior(abar, noise_schedule.abar(step.t_prev, x))
        mean = q.mean(data_from_velocity(x, prediction[:, :channels], abar), x)
        if step.t_prev < 0:
            return mean  # no noise is added to data
        if prediction.shape[1] == channels:
            deviation = q.beta.sqrt().to(x.dtype)
        else:
            deviation = (0.5 * q.log_variance(prediction[:, channels:], abar.new_zeros(()))).exp()
        return mean + deviation * draw()

    return update
