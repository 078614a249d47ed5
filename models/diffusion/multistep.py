"""Second-order multistep samplers, run by diffusers' schedulers over our timesteps.

"dpm++": DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095). "unipc": UniPC-2, a multistep predictor with a corrector
that costs no further evaluation (Zhao et al. 2023, arXiv:2302.04867). Both are deterministic. With
lambda = log(sqrt(abar) / sqrt(1 - abar)) they solve

    d(x / sqrt(1 - abar)) / d lambda = exp(lambda) x_0(x, lambda)

extrapolating x_0 over lambda from the predictions of earlier steps, so every run needs a `Multistep` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.diffusion.schedule import NoiseSchedule

if TYPE_CHECKING:
    from models.diffusion.sampling import Step

MULTISTEP = ("dpm++", "unipc")

# Stands in for abar = 0, where lambda is not finite. diffusers takes 2**-24, which is more than abar at the next three
# timesteps, so that lambda would first fall.
TERMINAL_ABAR = 2.0**-30


def noise_ratios(noise_schedule: NoiseSchedule, timesteps: Sequence[int]) -> Tensor:
    """exp(-lambda) at the timesteps, then 0 for the data, as diffusers has it: (len(timesteps) + 1,), float32."""
    abar = noise_schedule.alphas_cumprod[list(timesteps)]
    abar = torch.where(abar == 0, TERMINAL_ABAR, abar)
    return torch.cat([((1 - abar) / abar).sqrt(), abar.new_zeros(1)]).float()


def _scheduler(name: str) -> Any:  # what mypy sees of these classes is placeholders
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler  # seconds, for these samplers only

    if name == "dpm++":
        return DPMSolverMultistepScheduler(
            prediction_type="v_prediction", algorithm_type="dpmsolver++", solver_order=2, thresholding=False
        )
    if name == "unipc":
        return UniPCMultistepScheduler(prediction_type="v_prediction", solver_order=2, thresholding=False)
    raise ValueError(f"name must be one of {', '.join(MULTISTEP)}, got {name!r}")


class Multistep:
    """A `sampling.Update` for one run over `schedule`: to be called once a step, in order.

    The step to the data is of first order and so is that onto timestep 0, with which the papers' code ends its short
    runs: lambda rises several times as far there as in the step before, and extrapolating that far makes runs of 10
    to 30 steps worse than DDIM's.

    Raises:
        ValueError: unknown name.
    """

    def __init__(self, name: str, noise_schedule: NoiseSchedule, schedule: Sequence[Step]) -> None:
        self._schedule, self._done = schedule, 0
        self._scheduler = _scheduler(name)
        # What set_timesteps sets; that has spacings of its own and, for UniPC, takes no other timesteps.
        timesteps = [step.t for step in schedule]
        self._scheduler.num_inference_steps = len(schedule)
        self._scheduler.timesteps = torch.tensor(timesteps)
        self._scheduler.sigmas = noise_ratios(noise_schedule, timesteps)

    def __call__(
        self, x: Tensor, prediction: Tensor, abar: Tensor, abar_prev: Tensor, draw: Callable[[], Tensor]
    ) -> Tensor:
        """x (batch, channels, size, size), prediction (batch, channels or twice as many, ...) -> x_prev; all float32.

        abar and abar_prev are the schedule's, known already; nothing is drawn.
        """
        step = self._schedule[self._done]
        self._done += 1
        if step.t_prev == 0:
            self._scheduler.lower_order_nums = 0  # the order builds up anew, from one
        v = prediction[:, : x.shape[1]]
        return self._scheduler.step(v, step.t, x, return_dict=False)[0]
