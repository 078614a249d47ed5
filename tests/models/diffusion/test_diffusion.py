from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from models.autoencoder import PixelAutoencoder
from models.diffusion.allocation import affordable_steps, constant
from models.diffusion.objective import diffusion_loss
from models.diffusion.sampling import UPDATES, Guidance, SampleNoise, make_schedule, sample
from models.diffusion.schedule import (
    data_from_velocity,
    linear_schedule,
    noise_from_velocity,
    posterior,
    velocity,
)
from models.diffusion.timesteps import select_timesteps
from models.fixed_point.solvers import FixedCount

SCHEDULE = linear_schedule()


class Oracle:
    """Predicts the velocity towards a known x0: a perfect denoiser, whatever the number of steps."""

    def __init__(self, x0, channels=2):
        self.x0, self.channels, self.calls, self.states = x0, channels, [], []

    def predict(self, x, t, y, iterations, init=None):
        self.calls.append((int(t[0]), iterations, len(x)))
        self.states.append(init)
        abar = SCHEDULE.abar(t, x)
        x0 = self.x0.repeat(len(x) // len(self.x0), 1, 1, 1)
        noise = (x - abar.sqrt().float() * x0) / (1 - abar).sqrt().float()
        v = velocity(x0, noise, abar)
        return torch.cat([v, torch.zeros_like(v)], 1)[:, : self.channels], torch.tensor(len(self.calls))


def test_velocity_inverts():
    x0, noise = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    t = torch.tensor([0, 10, 500, 999])
    x, abar = SCHEDULE.add_noise(x0, noise, t), SCHEDULE.abar(t, x0)
    v = velocity(x0, noise, abar)
    torch.testing.assert_close(data_from_velocity(x, v, abar), x0, rtol=0, atol=1e-5)
    torch.testing.assert_close(noise_from_velocity(x, v, abar), noise, rtol=0, atol=1e-5)


def test_terminal_step_has_no_signal():
    assert SCHEDULE.alphas_cumprod[-1] == 0
    assert SCHEDULE.abar(-1, torch.zeros(1)) == 1
    assert (SCHEDULE.alphas_cumprod.diff() < 0).all()


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_every_step_count_gives_distinct_descending_timesteps(spacing):
    for steps in range(1, 1001):
        chosen = select_timesteps(steps, spacing)
        assert len(chosen) == steps
        assert chosen[0] == 999
        assert all(a > b >= 0 for a, b in pairwise(chosen))
        if spacing == "linspace" and steps > 1:
            assert chosen[-1] == 0
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=f"1 to 1000, got {steps}"):
            select_timesteps(steps, spacing)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 93, 1000])
def test_a_perfect_denoiser_recovers_the_data_at_any_step_count(sampler, steps):
    x0 = torch.rand(2, 1, 4, 4) * 2 - 1
    schedule = make_schedule(select_timesteps(steps), constant(steps, 3))
    oracle = Oracle(x0)
    out = sample(oracle, SCHEDULE, schedule, torch.zeros(2, dtype=torch.long), noise(2), sampler=sampler)
    torch.testing.assert_close(out, x0, rtol=0, atol=1e-3)
    assert [call[1] for call in oracle.calls] == [FixedCount(3)] * steps


def noise(batch, seed=0, offset=0):
    return SampleNoise(seed, range(offset, offset + batch), (1, 4, 4))


def test_reuse_hands_on_the_state_and_its_absence_does_not():
    x0, y = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    schedule = make_schedule(select_timesteps(3), constant(3, 1))
    with_reuse, without = Oracle(x0), Oracle(x0)
    sample(with_reuse, SCHEDULE, schedule, y, noise(2), reuse=True)
    sample(without, SCHEDULE, schedule, y, noise(2), reuse=False)
    assert [s if s is None else int(s) for s in with_reuse.states] == [None, 1, 2]
    assert without.states == [None, None, None]


def test_guidance_combines_the_named_channels_only():
    conditional, unconditional = torch.full((1, 4, 1, 1), 2.0), torch.full((1, 4, 1, 1), 1.0)
    guided = Guidance(scale=4.0, channels=3, null_label=10).apply(conditional, unconditional)
    assert guided.flatten().tolist() == [5.0, 5.0, 5.0, 2.0]


def test_guidance_asks_for_both_halves_in_one_batch():
    x0 = torch.rand(2, 1, 4, 4)
    oracle = Oracle(x0)
    schedule = make_schedule(select_timesteps(2), constant(2, 1))
    y = torch.tensor([1, 2])
    out = sample(oracle, SCHEDULE, schedule, y, noise(2), guidance=Guidance(3.0, 1, 10))
    assert [call[2] for call in oracle.calls] == [4, 4]
    torch.testing.assert_close(out, x0, rtol=0, atol=1e-3)  # both halves agree, so guidance changes nothing


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
    for step in make_schedule(timesteps, constant(len(timesteps), 1)):
        output = torch.rand(2, 2, 4, 4, generator=rng) - 0.5
        output[:, 1:] = -1  # the posterior variance; at +1 diffusers takes the beta of one timestep, not of the step
        drawn = torch.Generator().manual_seed(step.t)
        options = {} if sampler == "ddim" else {"generator": torch.Generator().manual_seed(step.t)}
        prediction = output[:, :1] if sampler == "ddim" else output
        theirs_x = theirs.step(prediction, step.t, theirs_x, **options).prev_sample
        abar, abar_prev = SCHEDULE.abar(step.t, x), SCHEDULE.abar(step.t_prev, x)
        x = UPDATES[sampler](x, output, abar, abar_prev, lambda rng=drawn: torch.randn(2, 1, 4, 4, generator=rng))
        torch.testing.assert_close(x, theirs_x, rtol=1e-4, atol=1e-4)


def test_posterior_matches_bayes():
    """Mean and variance of x_prev given x_t and x0, from the joint Gaussian of the forward process."""
    abar, abar_prev = SCHEDULE.alphas_cumprod[600], SCHEDULE.alphas_cumprod[400]
    alpha = abar / abar_prev
    precision = alpha / (1 - alpha) + 1 / (1 - abar_prev)
    q = posterior(abar, abar_prev)
    torch.testing.assert_close(q.variance, 1 / precision)
    torch.testing.assert_close(q.coef_x, alpha.sqrt() / (1 - alpha) / precision)
    torch.testing.assert_close(q.coef_x0, abar_prev.sqrt() / (1 - abar_prev) / precision)


def test_loss_is_zero_mse_for_the_true_velocity_and_the_bound_trains_the_variance_alone():
    x0, eps, t = torch.rand(3, 1, 4, 4) - 0.5, torch.randn(3, 1, 4, 4), torch.tensor([1, 400, 999])
    x = SCHEDULE.add_noise(x0, eps, t)
    v = velocity(x0, eps, SCHEDULE.abar(t, x0)).requires_grad_()
    fraction = torch.zeros_like(v).requires_grad_()
    loss = diffusion_loss(SCHEDULE, torch.cat([v, fraction], 1), x0, x, eps, t)
    assert loss.mse.abs().max() < 1e-10
    loss.vb.sum().backward(retain_graph=True)
    assert v.grad is None or v.grad.abs().max() == 0
    assert fraction.grad.abs().max() > 0
    released = diffusion_loss(SCHEDULE, torch.cat([v + 1, fraction], 1), x0, x, eps, t, weighting="released")
    assert released.mse[2] == 0  # the released weighting vanishes at the terminal step
    assert (released.mse[:2] > 0).all()


def test_pixels_survive_the_round_trip():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    codec = PixelAutoencoder()
    assert torch.equal(codec.decode(codec.encode(images)), images)
    assert codec.encode(images).min() == -1
    assert codec.encode(images).max() == 1


def test_budget_is_never_exceeded_and_steps_are_bounded():
    for budget in (30, 140, 281, 560):
        for per_step in range(1, 40):
            steps = affordable_steps(budget, per_step)
            assert steps * per_step <= budget < (steps + 1) * per_step
    assert affordable_steps(10**6, 3) == 1000
