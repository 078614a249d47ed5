"""Second-order multistep samplers, computed by diffusers' schedulers over this project's timesteps.

DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095), and UniPC-2, a multistep predictor with a corrector that needs no
further network evaluation (Zhao et al. 2023, arXiv:2302.04867). Both are deterministic. With
lambda = log(sqrt(abar) / sqrt(1 - abar)) they solve

    d(x / sqrt(1 - abar)) / d lambda = exp(lambda) x_0(x, lambda)

and extrapolate x_0 over lambda from the predictions of earlier steps, so each sampling run needs its own `Multistep`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.diffusion.schedule import NoiseSchedule
from models.diffusion.timesteps import Step

# Replaces abar = 0, where lambda is not finite. diffusers takes 2**-24, which is more than abar at the next three
# timesteps, so that lambda would first fall.
TERMINAL_ABAR = 2.0**-30


def noise_ratios(noise_schedule: NoiseSchedule, timesteps: Sequence[int]) -> Tensor:
    """exp(-lambda) at the timesteps, then 0 for the data: diffusers' `sigmas`, (len(timesteps) + 1,), float32."""
    abar = noise_schedule.alphas_cumprod[list(timesteps)]
    abar = torch.where(abar == 0, TERMINAL_ABAR, abar)
    return torch.cat([((1 - abar) / abar).sqrt(), abar.new_zeros(1)]).float()


def dpm_solver() -> Any:
    """diffusers' DPM-Solver++(2M). Importing diffusers takes seconds, so it is imported for these samplers only."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        prediction_type="v_prediction", algorithm_type="dpmsolver++", solver_order=2, thresholding=False
    )


def unipc() -> Any:
    """diffusers' UniPC-2."""
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="v_prediction", solver_order=2, thresholding=False)


class Multistep:
    """An `Update` for one sampling run over `schedule`, to be called once a step, in order.

    The step to the data and the step to timestep 0 are of first order; the papers' code ends short runs in the same
    way. Lambda rises several times as far in these steps as in the step before, and extrapolating that far makes runs
    of 10 to 30 steps worse than DDIM's.

    Args:
        scheduler: a new `dpm_solver()` or `unipc()`.
        noise_schedule: abar of the training process.
        schedule: the steps, noisiest first.
    """

    def __init__(self, scheduler: Any, noise_schedule: NoiseSchedule, schedule: Sequence[Step]) -> None:
        self._schedule, self._done = schedule, 0
        self._scheduler = scheduler
        # The attributes that set_timesteps would set; it has its own spacings, and UniPC's takes no other timesteps.
        timesteps = [step.t for step in schedule]
        self._scheduler.num_inference_steps = len(schedule)
        self._scheduler.timesteps = torch.tensor(timesteps)
        self._scheduler.sigmas = noise_ratios(noise_schedule, timesteps)

    def __call__(
        self, x: Tensor, prediction: Tensor, abar: Tensor, abar_prev: Tensor, draw: Callable[[], Tensor]
    ) -> Tensor:
        """x (batch, channels, size, size), prediction (batch, channels or twice as many, ...) -> x_prev; all float32.

        The other arguments are those of every `Update` and are not needed.
        """
        step = self._schedule[self._done]
        self._done += 1
        if step.t_prev == 0:
            self._scheduler.lower_order_nums = 0  # start again at first order
        v = prediction[:, : x.shape[1]]
        return self._scheduler.step(v, step.t, x, return_dict=False)[0]
