"""Second-order multistep samplers, computed by diffusers' schedulers over this project's timesteps.

DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095), and UniPC-2, a multistep predictor with a corrector that needs no
further network evaluation (Zhao et al. 2023, arXiv:2302.04867). Both are deterministic. With
lambda = log(sqrt(abar) / sqrt(1 - abar)) they solve

    d(x / sqrt(1 - abar)) / d lambda = exp(lambda) x_0(x, lambda)

and extrapolate x_0 over lambda from the predictions of earlier steps, so each sampling run needs its own `Multistep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from models.diffusion.samplers.registry import Draw, Evaluate, Update, register
from models.diffusion.timesteps import Step

if TYPE_CHECKING:
    from torch import Tensor

    from models.diffusion.schedule import NoiseSchedule

# Replaces abar = 0, where lambda is not finite. diffusers takes 2**-24, which is more than abar at the next three
# timesteps, so that lambda would first fall.
TERMINAL_ABAR = 2.0**-30


def noise_ratios(noise_schedule: NoiseSchedule, timesteps: Sequence[int]) -> Tensor:
    """exp(-lambda) at the timesteps, then 0 for the data: diffusers' `sigmas`, (len(timesteps) + 1,), float32."""
    import torch

    abar = noise_schedule.alphas_cumprod[list(timesteps)]
    abar = torch.where(abar == 0, TERMINAL_ABAR, abar)
    return torch.cat([((1 - abar) / abar).sqrt(), abar.new_zeros(1)]).float()


class Multistep:
    """An `Update` for one sampling run over `steps`.

    The step to the data and the step to timestep 0 are of first order; the papers' code ends short runs in the same
    way. Lambda rises several times as far in these steps as in the step before, and extrapolating that far makes runs
    of 10 to 30 steps worse than DDIM's.

    Args:
        scheduler: a new scheduler of diffusers, for v-prediction.
        noise_schedule: abar of the training process.
        steps: noisiest first.
    """

    def __init__(self, scheduler: Any, noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> None:
        import torch

        self._scheduler = scheduler
        # The attributes that set_timesteps would set; it has its own spacings, and UniPC's takes no other timesteps.
        timesteps = [step.t for step in steps]
        self._scheduler.num_inference_steps = len(steps)
        self._scheduler.timesteps = torch.tensor(timesteps)
        self._scheduler.sigmas = noise_ratios(noise_schedule, timesteps)

    def __call__(self, x: Tensor, step: Step, evaluate: Evaluate, draw: Draw) -> Tensor:
        if step.t_prev == 0:
            self._scheduler.lower_order_nums = 0  # start again at first order
        v = evaluate(x, step.t)[:, : x.shape[1]]
        return self._scheduler.step(v, step.t, x, return_dict=False)[0]


@register("dpm++", "DPM-Solver++", "#029e73", "^")
def _dpm_solver(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from diffusers import DPMSolverMultistepScheduler  # takes seconds, so for these samplers only

    options = {"prediction_type": "v_prediction", "algorithm_type": "dpmsolver++", "solver_order": 2}
    return Multistep(DPMSolverMultistepScheduler(**options, thresholding=False), noise_schedule, steps)


@register("unipc", "UniPC", "#cc78bc", "D")
def _unipc(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from diffusers import UniPCMultistepScheduler

    options = {"prediction_type": "v_prediction", "solver_order": 2}
    return Multistep(UniPCMultistepScheduler(**options, thresholding=False), noise_schedule, steps)
