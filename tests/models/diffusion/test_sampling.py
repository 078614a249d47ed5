import pytest
import torch

from models.diffusion.allocation import constant
from models.diffusion.denoiser import Prediction
from models.diffusion.sampling import Guidance, SampleNoise, sample
from models.diffusion.schedule import linear_schedule, velocity
from models.diffusion.timesteps import make_schedule, select_timesteps
from models.fixed_point.anderson import Anderson
from models.fixed_point.solvers import FixedCount, Tolerance
from models.zoo import create_model

SCHEDULE = linear_schedule()


class Oracle:
    """Predicts the velocity towards a known x0: a perfect denoiser, whatever the number of steps."""

    def __init__(self, x0, channels=2):
        self.x0, self.channels, self.calls, self.states = x0, channels, [], []

    def predict(self, x, t, y, iterations, state=None):
        self.calls.append((int(t[0]), iterations, len(x)))
        self.states.append(state)
        abar = SCHEDULE.abar(t, x)
        x0 = self.x0.repeat(len(x) // len(self.x0), 1, 1, 1)
        noise = (x - abar.sqrt().float() * x0) / (1 - abar).sqrt().float()
        v = velocity(x0, noise, abar)
        return Prediction(torch.cat([v, torch.zeros_like(v)], 1)[:, : self.channels], torch.tensor(len(self.calls)))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 93, 1000])
def test_a_perfect_denoiser_recovers_the_data_at_any_step_count(sampler, steps):
    x0 = torch.rand(2, 1, 4, 4) * 2 - 1
    schedule = make_schedule(select_timesteps(steps), constant(steps, 3))
    oracle = Oracle(x0)
    out = sample(oracle, SCHEDULE, schedule, torch.zeros(2, dtype=torch.long), noise(2), sampler=sampler)
    torch.testing.assert_close(out.x, x0, rtol=0, atol=1e-3)
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
    out = sample(oracle, SCHEDULE, schedule, y, noise(2), guidance=Guidance(3.0, 1, 10)).x
    assert [call[2] for call in oracle.calls] == [4, 4]
    torch.testing.assert_close(out, x0, rtol=0, atol=1e-3)  # both halves agree, so guidance changes nothing


def test_unknown_samplers_are_named():
    with pytest.raises(ValueError, match=r"one of ddpm, ddim, dpm\+\+, .*, got 'huen'"):
        sample(Oracle(torch.zeros(1, 1, 4, 4)), SCHEDULE, (), torch.zeros(1), noise(1), sampler="huen")


def test_the_solver_is_made_from_each_steps_iterations():
    oracle, y = Oracle(torch.zeros(2, 1, 4, 4)), torch.zeros(2, dtype=torch.long)
    schedule = make_schedule(select_timesteps(3), (3, 1, 2))
    sample(oracle, SCHEDULE, schedule, y, noise(2), solver=lambda k: Tolerance(0.1, k))
    assert [call[1] for call in oracle.calls] == [Tolerance(0.1, k) for k in (3, 1, 2)]
    sample(oracle, SCHEDULE, schedule, y, noise(2))
    assert [call[1] for call in oracle.calls[3:]] == [FixedCount(k) for k in (3, 1, 2)]


class WithCounts:
    """Gives a network the number of iterations in place of the solver."""

    def __init__(self, model):
        self.model = model

    def predict(self, x, t, y, iterations, state=None):
        return self.model.predict(x, t, y, iterations.iterations, state)


def random_network(kind):
    """A small network whose zero-initialised parts are random."""
    torch.manual_seed(0)
    size = {"input_size": 4, "hidden_size": 16, "depth": 4, "num_heads": 2, "num_classes": 10}
    model = create_model(f"{kind}_s_2", in_channels=1, **size).eval()
    for p in model.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return model


def run(model, iterations=(3, 3, 3, 3), **options):
    schedule = make_schedule(select_timesteps(len(iterations)), iterations)
    return sample(model, SCHEDULE, schedule, torch.tensor([1, 2]), noise(2), sampler="ddim", **options)


@pytest.mark.parametrize("kind", ["dit", "fpdm"])
def test_the_default_solver_is_the_iteration_count_and_another_is_used(kind):
    model = random_network(kind)
    default = run(model).x
    assert torch.equal(default, run(WithCounts(model)).x)
    other = run(model, solver=lambda k: FixedCount(k + 2)).x
    assert torch.equal(other, default) == (kind == "dit")  # explicit networks have nothing to solve


@pytest.mark.parametrize("guidance", [None, Guidance(2.0, 1, 10)])
@pytest.mark.parametrize("make", [FixedCount, Anderson, lambda k: Tolerance(0.05, k)])
def test_reported_iterations_are_those_that_ran(make, guidance):
    """Counted at the implicit block; with guidance both halves are reported."""
    model = random_network("fpdm")
    calls = []
    model.implicit.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    sampled = run(model, (9, 3, 5, 2), solver=make, guidance=guidance)
    assert sampled.executed == len(calls) > 0
    assert sampled.taken.shape == (2 if guidance is None else 4,)
    assert sampled.taken.dtype == torch.int64
    assert sampled.x.dtype == torch.float32
    if make in (FixedCount, Anderson):
        assert sampled.taken.unique().tolist() == [19]
        assert sampled.executed == 19
        assert not sampled.residuals
    else:
        assert 4 <= sampled.taken.min() <= sampled.taken.max() <= sampled.executed <= 19
        assert [len(r) for r in sampled.residuals] != [9, 3, 5, 2]  # the tolerance ended some steps early
        assert sum(len(r) for r in sampled.residuals) == sampled.executed


def test_residuals_of_each_step_are_returned_where_they_are_recorded():
    sampled = run(random_network("fpdm"), (2, 0, 3), solver=lambda k: FixedCount(k, record_residuals=True))
    assert [tuple(r.shape) for r in sampled.residuals] == [(2, 2), (0, 2), (3, 2)]
    assert sampled.taken.tolist() == [5, 5]


def test_networks_without_iterations_report_none():
    sampled = run(random_network("dit"))
    assert (tuple(sampled.taken.shape), sampled.taken.dtype) == ((0,), torch.int64)
    assert (sampled.executed, sampled.residuals) == (0, [])
