import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from models.diffusion.allocation import constant
from models.diffusion.samplers import SAMPLERS
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import make_schedule, select_timesteps

SCHEDULE = linear_schedule()


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_ddim_agrees_with_diffusers_where_that_is_defined(steps):
    """diffusers steps by t - 1000 // N, which is our trailing spacing for divisors of 1000."""
    theirs = DDIMScheduler(
        beta_schedule="linear",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(steps)
    timesteps = select_timesteps(steps, "trailing")
    assert theirs.timesteps.tolist() == list(timesteps)
    compare_with(theirs, timesteps, "ddim")


@pytest.mark.parametrize("steps", [4, 25])
def test_ddpm_agrees_with_diffusers(steps):
    theirs = DDPMScheduler(
        beta_schedule="linear",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        clip_sample=False,
        variance_type="learned_range",
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(steps)
    compare_with(theirs, select_timesteps(steps, "trailing"), "ddpm")


def compare_with(theirs, timesteps, sampler):
    rng = torch.Generator().manual_seed(0)
    x = theirs_x = torch.randn(2, 1, 4, 4, generator=rng)
    schedule = make_schedule(timesteps, constant(len(timesteps), 1))
    update = SAMPLERS[sampler].make(SCHEDULE, schedule)
    for step in schedule:
        output = torch.rand(2, 2, 4, 4, generator=rng) - 0.5
        output[:, 1:] = -1  # the posterior variance; at +1 diffusers takes the beta of one timestep, not of the step
        drawn = torch.Generator().manual_seed(step.t)
        options = {} if sampler == "ddim" else {"generator": torch.Generator().manual_seed(step.t)}
        prediction = output[:, :1] if sampler == "ddim" else output
        theirs_x = theirs.step(prediction, step.t, theirs_x, **options).prev_sample
        x = update(x, step, lambda x, t, out=output: out, lambda rng=drawn: torch.randn(2, 1, 4, 4, generator=rng))
        torch.testing.assert_close(x, theirs_x, rtol=1e-4, atol=1e-4)
