import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.spec.grids import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from models.cost import block_macs, forward_macs, forward_passes, injection_macs, step_injection_macs
from models.zoo import build, model_config


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
