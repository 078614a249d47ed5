import diffusers
import pytest
import torch
from gaussian import MEAN, SCHEDULE, SHAPE, GaussianOracle, flow, noise

from models.diffusion.allocation import constant
from models.diffusion.samplers import SAMPLERS
from models.diffusion.samplers.multistep import TERMINAL_ABAR, noise_ratios
from models.diffusion.sampling import Guidance, sample
from models.diffusion.timesteps import SPACINGS, Step, make_schedule, select_timesteps

MULTISTEP = ("dpm++", "unipc")


def draw(sampler, steps, indices=range(6), spacing="linspace", oracle=None, **options):
    schedule = make_schedule(select_timesteps(steps, spacing), constant(steps, 3))
    y = torch.zeros(len(indices), dtype=torch.long)
    return sample(oracle or GaussianOracle(), SCHEDULE, schedule, y, noise(indices), sampler=sampler, **options).x


def error(sampler, steps, spacing="linspace"):
    """Root mean square distance to where the probability-flow ODE takes the same noise."""
    exact = flow(noise().draw(), 999, -1)
    return (draw(sampler, steps, spacing=spacing) - exact).square().mean().sqrt().item()


def test_deterministic_samplers_follow_the_probability_flow():
    errors = {sampler: error(sampler, 200) for sampler in ("ddim", *MULTISTEP)}
    assert errors["ddim"] < 0.01  # first order
    assert max(errors[name] for name in MULTISTEP) < 0.001


@pytest.mark.parametrize("name", MULTISTEP)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_second_order_is_ahead_of_ddim_in_few_steps(name, spacing):
    assert error(name, 10, spacing) < 0.85 * error("ddim", 10, spacing)
    assert error(name, 20, spacing) < 0.4 * error("ddim", 20, spacing)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # set_timesteps with NumPy 2
@pytest.mark.parametrize("name", MULTISTEP)
def test_it_is_diffusers_sampler_where_diffusers_has_our_timesteps(name):
    """That holds for trailing timesteps of divisors of 1000; guards what we set of diffusers' attributes."""
    theirs = native(name, timestep_spacing="trailing")
    theirs.alphas_cumprod[-1] = TERMINAL_ABAR
    theirs.set_timesteps(20)
    timesteps = select_timesteps(20, "trailing")
    assert theirs.timesteps.tolist() == list(timesteps)
    x, oracle = noise().draw(), GaussianOracle()
    for t in timesteps:
        v = oracle.predict(x, torch.full((6,), t), None, None).value.chunk(2, 1)[0]
        x = theirs.step(v, t, x).prev_sample
    torch.testing.assert_close(draw(name, 20, spacing="trailing"), x, rtol=0, atol=1e-4)


def native(name, **options):
    scheduler = {"dpm++": diffusers.DPMSolverMultistepScheduler, "unipc": diffusers.UniPCMultistepScheduler}[name]
    return scheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, **options)


@pytest.mark.parametrize("name", MULTISTEP)
def test_abar_equals_diffusers(name):
    torch.testing.assert_close(
        native(name).alphas_cumprod.double()[:-1], SCHEDULE.alphas_cumprod[:-1], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 93, 446, 1000])
def test_noise_falls_at_every_step(steps, spacing):
    timesteps = select_timesteps(steps, spacing)
    ratios = noise_ratios(SCHEDULE, timesteps)
    assert ratios.dtype == torch.float32
    assert ratios.isfinite().all()
    assert (ratios.diff() < 0).all()
    assert ratios[-1] == 0
    abar = 1 / (1 + ratios[:-1].double() ** 2)
    torch.testing.assert_close(abar, SCHEDULE.alphas_cumprod[list(timesteps)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MULTISTEP)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 93])
def test_the_denoiser_is_asked_at_our_timesteps_and_samples_are_finite(name, steps):
    oracle = GaussianOracle()
    out = draw(name, steps, oracle=oracle)
    assert oracle.timesteps == list(select_timesteps(steps))
    assert out.isfinite().all()
    assert out.shape == (6, *SHAPE)
    assert out.dtype == torch.float32


@pytest.mark.parametrize("name", MULTISTEP)
def test_one_step_goes_to_the_predicted_data(name):
    torch.testing.assert_close(draw(name, 1), torch.full((6, *SHAPE), MEAN), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", MULTISTEP)
def test_samples_depend_neither_on_the_batch_nor_on_earlier_runs(name):
    together = draw(name, 12)
    split = torch.cat([draw(name, 12, range(2)), draw(name, 12, range(2, 6))])
    torch.testing.assert_close(split, together, rtol=0, atol=1e-6)
    assert torch.equal(draw(name, 12), together)


@pytest.mark.parametrize("name", MULTISTEP)
def test_autocast_leaves_the_updates_in_float32(name):  # UniPC has an einsum, over a dimension of one
    expected = draw(name, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(draw(name, 12), expected)


@pytest.mark.parametrize("name", MULTISTEP)
def test_guidance_of_agreeing_halves_changes_nothing(name):
    guided = draw(name, 12, guidance=Guidance(3.0, SHAPE[0], 10))
    torch.testing.assert_close(guided, draw(name, 12), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MULTISTEP)
def test_a_run_ends_with_its_schedule(name):
    update = SAMPLERS[name].make(SCHEDULE, make_schedule([999], [1]))
    x, step = torch.zeros(1, *SHAPE), Step(999, -1, 1)
    update(x, step, lambda x, t: x, lambda: x)
    with pytest.raises((IndexError, AssertionError)):
        update(x, step, lambda x, t: x, lambda: x)
