import subprocess
import sys

import pytest

from models.diffusion import samplers
from models.diffusion.samplers import SAMPLERS, get_sampler, register


def test_names_and_labels():
    assert {s.name: s.label for s in SAMPLERS.values()} == {
        "ddpm": "DDPM",
        "ddim": "DDIM",
        "dpm++": "DPM-Solver++",
        "unipc": "UniPC",
    }
    assert tuple(SAMPLERS) == ("ddpm", "ddim", "dpm++", "unipc")


def test_unknown_names_are_told_all_choices():
    with pytest.raises(ValueError, match=r"one of ddpm, ddim, dpm\+\+, unipc, got 'heun'"):
        get_sampler("heun")


def test_a_sampler_is_added_by_one_registration(monkeypatch):
    monkeypatch.setattr(samplers, "SAMPLERS", dict(SAMPLERS))

    @register("keep", "Keep")
    def keep(noise_schedule, steps):
        return lambda x, *_: x

    assert get_sampler("keep").label == "Keep"
    assert get_sampler("keep").make(None, ()) is not get_sampler("keep").make(None, ())
    assert "keep" not in SAMPLERS


@pytest.mark.parametrize(
    ("module", "unwanted"), [("models.diffusion.samplers", "torch"), ("models.diffusion.sampling", "diffusers")]
)
def test_nothing_slow_is_imported_before_it_is_needed(module, unwanted):
    code = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
