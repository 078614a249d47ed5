import subprocess
import sys

import pytest
import torch
from gaussian import SCHEDULE, GaussianOracle, noise

from models.diffusion.samplers import SAMPLERS, get_sampler, register
from models.diffusion.sampling import sample
from models.diffusion.timesteps import make_schedule, select_timesteps


def test_names_and_labels():
    """Of those that results are kept of or that the paper has; others may follow."""
    labels = {
        "ddpm": "DDPM", "ddim": "DDIM", "dpm++": "DPM-Solver++", "unipc": "UniPC", "euler": "Euler", "heun": "Heun",
    }  # fmt: skip
    assert labels.items() <= {sampler.name: sampler.label for sampler in SAMPLERS.values()}.items()
    assert tuple(SAMPLERS)[:2] == ("ddpm", "ddim")  # the first of tables and grids


def test_each_is_told_apart_in_figures():
    assert len({sampler.color for sampler in SAMPLERS.values()}) == len(SAMPLERS)
    assert len({sampler.marker for sampler in SAMPLERS.values()}) == len(SAMPLERS)


def test_unknown_names_are_told_all_choices():
    with pytest.raises(ValueError, match=r"one of ddpm, ddim, dpm\+\+, .*, got 'huen'"):
        get_sampler("huen")


@pytest.fixture
def keep():
    """A sampler of two evaluations a step whose last step is of second order too; it changes nothing."""

    @register("keep", "Keep", "black", ".", evaluations=2, last_order=2)
    def keep(noise_schedule, steps):
        def update(x, step, evaluate, draw):
            for _ in range(2):
                evaluate(x, step.t)
            return x

        return update

    yield SAMPLERS["keep"]
    del SAMPLERS["keep"]


def test_a_sampler_is_added_by_one_registration(keep):
    assert get_sampler("keep") == keep
    assert keep.make(SCHEDULE, ()) is not keep.make(SCHEDULE, ())
    with pytest.raises(ValueError, match="sampler 'keep' is registered already"):
        register("keep", "Again", "black", ".")(keep.make)


def run(sampler, steps, oracle):
    schedule = make_schedule(select_timesteps(steps), [1] * steps)
    return sample(oracle, SCHEDULE, schedule, torch.zeros(6, dtype=torch.long), noise(), sampler=sampler).x


@pytest.mark.parametrize("name", [*SAMPLERS, "keep"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_a_run_makes_the_evaluations_that_it_is_charged_for(name, steps, keep):
    sampler, oracle = get_sampler(name), GaussianOracle()
    run(name, steps, oracle)
    charged = sampler.tally([7] * steps)
    assert charged == {7: len(oracle.timesteps)}
    assert sampler.steps(charged[7]) == steps
    assert sampler.steps(charged[7] - 1) == steps - 1
    assert sum(sampler.alike(steps)) == steps


def test_evaluations_by_hand(keep):
    heun = get_sampler("heun")
    assert [heun.steps(evaluations) for evaluations in (0, 1, 2, 3, 10, 20)] == [0, 1, 1, 2, 5, 10]
    assert heun.tally((4, 2, 3)) == {4: 2, 2: 2, 3: 1}
    assert keep.tally((4, 2, 3)) == {4: 2, 2: 2, 3: 2}
    assert get_sampler("unipc").tally((4, 2, 3)) == {4: 1, 2: 1, 3: 1}
    assert heun.tally(()) == {}
    assert (heun.alike(5), keep.alike(5)) == ((4, 1), (5,))


@pytest.mark.parametrize(("declared", "made"), [(1, 2), (3, 2)])
def test_a_sampler_that_is_registered_with_other_evaluations_than_it_makes_is_refused(
    declared, made, keep, monkeypatch
):
    monkeypatch.delitem(SAMPLERS, "keep")
    register("keep", "Keep", "black", ".", evaluations=declared, last_order=declared)(keep.make)
    message = rf"sampler keep: {made} evaluations at Step\(t=999, .*\), but it is registered with {declared}"
    with pytest.raises(RuntimeError, match=message):
        run("keep", 3, GaussianOracle())


@pytest.mark.parametrize(
    ("module", "unwanted"), [("models.diffusion.samplers", "torch"), ("models.diffusion.sampling", "diffusers")]
)
def test_nothing_slow_is_imported_before_it_is_needed(module, unwanted):
    code = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
