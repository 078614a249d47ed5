"""What families say of their networks equals what the networks do."""

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
from models.families import build, forward_macs, forward_passes, parameters
from models.zoo import model_config


@cache
def counted_macs(config, iterations):
    """What torch counts for one image. Attention runs as plain products, whose count torch knows on every device."""
    with torch.device("meta"):
        model = build(config)
        x = torch.empty(1, config.in_channels, config.input_size, config.input_size)
        t = y = torch.empty(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            model.predict(x, t, y, iterations)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("size", ["s_2", "b_2", "xl_2"])
def test_dit_formula_equals_the_flop_counter(size):
    config = model_config(f"dit_{size}")
    assert forward_macs(config) == counted_macs(config, 0)


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
@pytest.mark.parametrize("size", ["s_2", "b_2", "xl_2"])
def test_fpdm_formula_equals_the_flop_counter(size, layers):
    config = model_config(f"fpdm_{size}", n_pre=layers, n_post=layers)
    for iterations in (1, 7):
        assert forward_macs(config, iterations) == counted_macs(config, iterations)


def test_digits_cells_cost_what_their_networks_do():
    for cell in get_cells("smoothing", get_suite("digits"), Selection(budgets=(280,))):
        assert cell.block_passes == cell.steps * forward_passes(cell.run.config, cell.iterations)
        assert cell.macs == cell.steps * counted_macs(cell.run.config, cell.iterations)


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
        *(model_config(f"dit_{size}_2") for size in ("s", "b", "xl")),
        *(model_config(f"fpdm_{size}_2", n_pre=k, n_post=k) for size in ("s", "b", "xl") for k in (0, 1, 2, 4)),
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
