"""What families say of their networks equals what the networks do."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from models.config import ModelConfig
from models.cost import block_macs, injection_macs, step_injection_macs
from models.families import FAMILIES, build, family_of, forward_macs, forward_passes, parameters
from models.networks.blocks import DiTBlock
from models.zoo import model_config


@cache
def counted(config, numbers):
    """MACs as torch counts them, and block passes, of a sampling run with these numbers of a schedule, for one image.

    Attention runs as plain products, whose count torch knows on every device.
    """
    passes, state, family = [], None, family_of(config)
    with torch.device("meta"):
        model = build(config)
        for module in model.modules():
            if isinstance(module, DiTBlock):
                module.register_forward_hook(lambda *_: passes.append(1))
        x = torch.empty(1, config.in_channels, config.input_size, config.input_size)
        t = y = torch.empty(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            for number in family.counts(config, numbers):
                state = model.predict(x, t, y, number, state if family.carries_state else None).state
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2, len(passes)


def variants(family, size):
    """Configurations of a family: its options one after the other."""
    name, layers = f"{family.name}_{size}", {"n_pre", "n_post"} <= family.options.keys()
    for n in (0, 1, 2, 4) if layers else (None,):
        config = model_config(name) if n is None else model_config(name, n_pre=n, n_post=n)
        yield config
        if "loop_blocks" in family.options:
            yield replace(config, loop_blocks=2)


def schedules(family):
    """Numbers of the steps of short sampling runs."""
    return ((3,) * 4,) if family.settings else ((1,), (7,)) if family.iterates else ((0,),)


@pytest.mark.parametrize("size", ["s_2", "b_2", "xl_2"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_formulas_equal_the_flop_counter_and_the_counted_passes(family, size):
    for config in variants(family, size):
        for numbers in schedules(family):
            each = family.counts(config, numbers)
            macs, passes = counted(config, numbers)
            assert sum(forward_macs(config, number) for number in each) == macs
            assert sum(forward_passes(config, number) for number in each) == passes


def test_digits_cells_cost_what_their_networks_do():
    found = get_cells("smoothing", get_suite("digits"), Selection(budgets=(280,)))
    for cell in (cell for cell in found if cell.run):
        macs, passes = counted(cell.config, (cell.iterations,))
        assert cell.block_passes == cell.steps * passes
        assert cell.macs == cell.steps * macs


@pytest.mark.parametrize("cached", get_suite("digits").contender("dit-cached").configs, ids=lambda c: f"j={c.n_pre}")
def test_cached_cells_cost_what_their_networks_do(cached):
    found = get_cells("controls", get_suite("digits"), Selection(budgets=(280,), models=("dit-cached",), seeds=(0,)))
    cells = [cell for cell in found if cell.measure == "quality" and cell.config == cached]
    assert {cell.iterations for cell in cells} == {2, 4}
    for cell in cells:
        assert (cell.macs, cell.block_passes) == counted(cell.config, (cell.iterations,) * cell.steps)
        assert cell.injections == 0


def test_the_injection_is_counted_and_what_is_saved_is_not():
    config = model_config("fpdm_xl_2")
    per_iteration = forward_macs(config, 5) - forward_macs(config, 4)
    assert per_iteration == block_macs(config) + injection_macs(config)
    assert injection_macs(config) / block_macs(config) == pytest.approx(0.32, abs=0.01)
    plain = injection_macs(config) + config.tokens * 2 * config.hidden_size**2  # both halves every time
    assert plain / block_macs(config) == pytest.approx(0.48, abs=0.01)  # the paper's implementation
    assert step_injection_macs(config) < 2 * injection_macs(config)


DIGITS = {"input_size": 8, "patch_size": 2, "in_channels": 1, "hidden_size": 128, "num_heads": 4, "num_classes": 10}


@pytest.mark.parametrize(
    "config",
    [
        *(one for family in FAMILIES.values() for size in ("s_2", "b_2", "xl_2") for one in variants(family, size)),
        model_config("fpdm_s_4", n_pre=0, n_post=3, learn_sigma=False),
        ModelConfig("dit", depth=6, learn_sigma=False, **DIGITS),
        ModelConfig("fpdm", depth=6, n_pre=1, n_post=1, **DIGITS),
    ],
    ids=str,
)
def test_parameter_formula_equals_the_network(config):
    with torch.device("meta"):
        network = build(config)
    assert parameters(config) == sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_parameters_are_the_papers():
    assert parameters(model_config("dit_xl_2")) == pytest.approx(674.8e6, abs=0.05e6)
    assert parameters(model_config("fpdm_xl_2")) == pytest.approx(86.5e6, abs=0.05e6)
