"""DDIM: deterministic steps (Song et al. 2021, Eq. 12 with sigma = 0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.diffusion.samplers.registry import Draw, Evaluate, Update, register
from models.diffusion.timesteps import Step

if TYPE_CHECKING:
    from torch import Tensor

    from models.diffusion.schedule import NoiseSchedule


def estimate(noise_schedule: NoiseSchedule, x: Tensor, t: int, evaluate: Evaluate) -> tuple[Tensor, Tensor]:
    """What the network takes for the data and for the noise in x, both like x."""
    from models.diffusion.schedule import data_from_velocity, noise_from_velocity

    v, abar = evaluate(x, t)[:, : x.shape[1]], noise_schedule.abar(t, x)
    return data_from_velocity(x, v, abar), noise_from_velocity(x, v, abar)


@register("ddim", "DDIM", "#de8f05", "s")
def ddim(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    """The update of DDIM."""

    def update(x: Tensor, step: Step, evaluate: Evaluate, draw: Draw) -> Tensor:
        return noise_schedule.add_noise(*estimate(noise_schedule, x, step.t, evaluate), step.t_prev)

    return update
