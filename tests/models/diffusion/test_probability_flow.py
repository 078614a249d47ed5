"""Euler and Heun: their order, where they agree with diffusers, and what they do at infinite and at zero sigma."""

import math

import diffusers
import pytest
import torch
from gaussian import MEAN, SCHEDULE, SHAPE, GaussianOracle, flow, noise

from models.diffusion.denoiser import Prediction
from models.diffusion.samplers import get_sampler
from models.diffusion.sampling import sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import SPACINGS, Step, make_schedule, select_timesteps

FINITE = linear_schedule(zero_terminal_snr=False)  # the first sigma is 157

# diffusers' set_timesteps with NumPy 2
OLD_NUMPY = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def run(sampler, steps, noise_schedule=SCHEDULE, oracle=None, **options):
    y = torch.zeros(6, dtype=torch.long)
    oracle = oracle or GaussianOracle(noise_schedule)
    return sample(oracle, noise_schedule, steps, y, noise(), sampler=sampler, **options).x


def schedule_of(steps, spacing="linspace"):
    return make_schedule(select_timesteps(steps, spacing), [3] * steps)


@pytest.mark.parametrize("noise_schedule", [SCHEDULE, FINITE], ids=["infinite sigma", "finite sigma"])
@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_falls_with_the_samplers_order(sampler, order, noise_schedule):
    """Against the exact solution for Gaussian data, in steps of equally many timesteps from 999 down to 99."""
    errors = []
    for stride in (30, 15, 10):
        times = range(999, 98, -stride)
        steps = [Step(t, t - stride, 1) for t in times[:-1]]
        found = run(sampler, steps, noise_schedule)
        exact = flow(noise().draw(), 999, 99, noise_schedule)
        errors.append((found - exact).square().mean().sqrt().item())
    measured = [math.log(errors[0] / errors[1], 2), math.log(errors[1] / errors[2], 1.5)]
    assert measured == pytest.approx([order, order], abs=0.15)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_euler_is_ddim(steps, spacing):
    assert torch.equal(run("euler", schedule_of(steps, spacing)), run("ddim", schedule_of(steps, spacing)))


@pytest.mark.parametrize(("evaluations", "bound"), [(19, 0.7), (39, 0.35), (79, 0.2)])
def test_heun_is_ahead_of_euler_at_equal_evaluations(evaluations, bound):
    """With fewer it is behind: its steps of equally many timesteps are too long in sigma."""
    exact = flow(noise().draw(), 999, -1)
    errors = []
    for sampler in ("heun", "euler"):
        oracle = GaussianOracle()
        found = run(sampler, schedule_of(get_sampler(sampler).steps(evaluations)), oracle=oracle)
        assert len(oracle.timesteps) == evaluations
        errors.append((found - exact).square().mean().sqrt().item())
    assert errors[0] < bound * errors[1]


@OLD_NUMPY
@pytest.mark.parametrize("steps", [1, 2, 5, 25])
def test_heun_is_diffusers_heun(steps):
    """Where sigma is finite: diffusers' scheduler has no zero terminal SNR. It makes as many evaluations."""
    theirs = diffusers.HeunDiscreteScheduler(
        beta_start=1e-4, beta_end=0.02, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    ours, judge = GaussianOracle(FINITE), GaussianOracle(FINITE)
    found = run("heun", schedule_of(steps, "trailing"), FINITE, ours)
    assert theirs.timesteps.tolist() == ours.timesteps == sorted(ours.timesteps, reverse=True)
    assert len(ours.timesteps) == 2 * steps - 1
    x = noise().draw() * (theirs.sigmas[0] ** 2 + 1).sqrt()  # x / sqrt(abar)
    for t in theirs.timesteps:
        x = theirs.step(velocity_at(judge, theirs.scale_model_input(x, t), t), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)


def velocity_at(oracle, x, t):
    return oracle.predict(x, torch.full((6,), int(t)), None, None).value.chunk(2, 1)[0]


@OLD_NUMPY
@pytest.mark.parametrize("steps", [2, 5, 25])
def test_euler_is_diffusers_euler(steps):
    """Its first sigma with zero terminal SNR is 4096, not infinite."""
    theirs = diffusers.EulerDiscreteScheduler(
        beta_start=1e-4, beta_end=0.02, prediction_type="v_prediction", timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )  # fmt: skip
    theirs.set_timesteps(steps)
    oracle, x = GaussianOracle(), noise().draw() * theirs.sigmas[0]
    for t in theirs.timesteps:
        x = theirs.step(velocity_at(oracle, theirs.scale_model_input(x, t), t), t, x).prev_sample
    torch.testing.assert_close(run("euler", schedule_of(steps, "trailing")), x, rtol=0, atol=1e-3)


def test_heun_on_the_first_step_is_the_trapezoid_in_one_over_sigma():
    """By hand, for one step from infinite sigma: the mean of what is taken for the data at both ends."""
    t = 500
    x, oracle = noise().draw(), GaussianOracle()
    abar = SCHEDULE.abar(t, x)
    x0 = torch.full_like(x, MEAN)  # all that is known of the data from noise alone
    ahead = abar.sqrt() * x0 + (1 - abar).sqrt() * x
    v = velocity_at(oracle, ahead.float(), t)
    mean = (x0 + abar.sqrt() * ahead - (1 - abar).sqrt() * v) / 2
    expected = abar.sqrt() * mean + (1 - abar).sqrt() * x
    torch.testing.assert_close(run("heun", [Step(999, t, 1)]), expected.float(), rtol=0, atol=1e-6)


def test_one_step_goes_to_the_predicted_data():
    for sampler in ("euler", "heun"):
        torch.testing.assert_close(run(sampler, schedule_of(1)), torch.full((6, *SHAPE), MEAN), rtol=0, atol=1e-6)


class Counting:
    """A denoiser whose state is the number of its evaluation."""

    def __init__(self):
        self.calls, self.states = [], []

    def predict(self, x, t, y, iterations, state=None):
        self.calls.append((int(t[0]), iterations.iterations))
        self.states.append(state)
        return Prediction(torch.zeros_like(x), len(self.calls))


def test_with_reuse_each_evaluation_starts_from_the_one_before():
    """The second of a step from the first one's state, with the iterations of its step; the last step has one only."""
    with_reuse, without = Counting(), Counting()
    steps = make_schedule((999, 500, 0), (4, 2, 3))
    run("heun", steps, oracle=with_reuse)
    run("heun", steps, oracle=without, reuse=False)
    assert with_reuse.calls == without.calls == [(999, 4), (500, 4), (500, 2), (0, 2), (0, 3)]
    assert with_reuse.states == [None, 1, 2, 3, 4]
    assert without.states == [None] * 5
