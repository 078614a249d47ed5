"""Memory with activation checkpointing and of sampling: by hand, against real tensors, on a GPU, and as cells."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from pretend_gpu import CUDA

from bench.evaluation.evaluator import Evaluator
from bench.profiling.cuda_memory import measured_sampling_memory, measured_training_memory
from bench.profiling.memory import StorageMeter, sampling_memory, training_memory
from bench.profiling.noise import training_step
from bench.sampling.setting import Setting
from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import Footprint
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Store
from models.families import build
from models.fixed_point.unroll import Unroll
from models.zoo import model_config

GIB = 2**30
CPU = torch.device("cpu")


def unit(config, batch, size):
    """Bytes of one (batch, tokens, hidden) tensor."""
    return batch * config.tokens * config.hidden_size * size


@pytest.mark.parametrize("n", [0, 12])
def test_fpdm_takes_a_quarter_of_dit_or_less_in_mixed_precision(n):
    """m = 12, both recomputed; the paper has 40%."""
    dit = training_memory(model_config("dit_xl_2"), 64, Unroll(0, 1), "fp16", True).peak_bytes
    fpdm = training_memory(model_config("fpdm_xl_2"), 64, Unroll(n, 12), "fp16", True).peak_bytes
    assert dit / GIB == pytest.approx(13.73, abs=0.02)
    assert fpdm / GIB == pytest.approx(3.38 if n == 0 else 3.34, abs=0.02)
    assert fpdm <= dit / 4


def test_fpdm_takes_a_third_of_dit_in_float32():
    """There the states and the one iteration that is recomputed are twice as large, the weights are not."""
    settings = "fp32", True
    dit = training_memory(model_config("dit_xl_2"), 64, Unroll(0, 1), *settings).peak_bytes
    fpdm = training_memory(model_config("fpdm_xl_2"), 64, Unroll(12, 12), *settings).peak_bytes
    assert (dit / GIB, fpdm / GIB) == pytest.approx((14.26, 4.82), abs=0.02)
    assert fpdm / dit == pytest.approx(0.338, abs=0.005)


@pytest.mark.parametrize(("dtype", "size"), [("fp32", 4), ("fp16", 2), ("bf16", 2)])
def test_an_iteration_keeps_its_state_and_nothing_else(dtype, size):
    config = model_config("fpdm_s_2")
    peak = {m: training_memory(config, 16, Unroll(3, m), dtype, True).peak_bytes for m in (4, 5, 6, 9)}
    assert peak[5] - peak[4] == peak[6] - peak[5] == unit(config, 16, size)
    assert peak[9] - peak[6] == 3 * unit(config, 16, size)


@pytest.mark.parametrize("name", ["dit_b_2", "fpdm_b_2"])
def test_sampling_memory_does_not_grow_with_depth_or_iterations(name):
    config = model_config(name)
    activations = [sampling_memory(config, 16, k).activations_bytes for k in (3, 4, 40)]
    assert activations[0] == activations[1] == activations[2]
    deeper = sampling_memory(replace(config, depth=20), 16, 3)
    assert deeper.activations_bytes == pytest.approx(activations[0], rel=0.001)  # the norms' constants grow
    assert deeper.peak_bytes == deeper.parameters_bytes + deeper.activations_bytes


def test_sampling_memory_of_a_dit_by_hand():
    """The peak is in the MLP, in units of one fp32 (batch, tokens, hidden) tensor:

    the tokens, the block's input, attention's output and x (4), the MLP's input (1), GELU's input and output (8).
    """
    config, batch = model_config("dit_b_2"), 64
    memory = sampling_memory(config, batch, 0)
    assert memory.activations_bytes / unit(config, batch, 4) == pytest.approx(13, rel=0.02)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_measuring_runs_on_a_gpu_that_is_not_there(dtype, gpu):
    config = model_config("fpdm_s_2", depth=2)
    assert measured_training_memory(config, 3, Unroll(1, 2), dtype, True, CUDA) == 0
    assert measured_sampling_memory(config, 3, 2, dtype, CUDA) == 0
    assert len(gpu.seen["_scaled_dot_product_efficient_attention"]) == 1


@contextmanager
def meter_for_cuda(monkeypatch):
    """Real tensors on the CPU, their storages metered in the place of CUDA's allocator."""
    with StorageMeter() as meter:
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: meter.live)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(meter, "peak", meter.live))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: meter.peak)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
        yield


TINY = {"input_size": 8, "hidden_size": 64, "num_heads": 4, "num_classes": 10}


@pytest.mark.parametrize("grad_checkpointing", [False, True])
@pytest.mark.parametrize("name", ["dit_s_2", "fpdm_s_2"])
def test_a_real_step_takes_what_is_computed(name, grad_checkpointing, monkeypatch):
    """With clipping, optimizer and EMA. A batch of 32 is computed whole on a CPU."""
    config, unroll = model_config(name, depth=6, **TINY), Unroll(2, 5)
    computed = training_memory(config, 32, unroll, "fp32", grad_checkpointing).peak_bytes
    with meter_for_cuda(monkeypatch):
        measured = measured_training_memory(config, 32, unroll, "fp32", grad_checkpointing, CPU)
    assert measured == pytest.approx(computed, rel=0.005)


@pytest.mark.parametrize("name", ["dit_s_2", "fpdm_s_2"])
def test_real_sampling_takes_what_is_computed(name, monkeypatch):
    config = model_config(name, depth=6, **TINY)
    with meter_for_cuda(monkeypatch):
        measured = measured_sampling_memory(config, 32, 5, "fp32", CPU)
    assert measured == pytest.approx(sampling_memory(config, 32, 5).peak_bytes, rel=0.005)


@pytest.mark.gpu
@pytest.mark.parametrize("grad_checkpointing", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["dit_b_2", "fpdm_b_2", "fpdm_xl_2"])
def test_training_on_a_gpu_takes_what_is_computed(name, dtype, grad_checkpointing):
    config, unroll, device = model_config(name), Unroll(3, 6), torch.device("cuda")
    measured = measured_training_memory(config, 32, unroll, dtype, grad_checkpointing, device)
    computed = training_memory(config, 32, unroll, dtype, grad_checkpointing).peak_bytes
    assert measured == pytest.approx(computed, rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["dit_xl_2", "fpdm_xl_2"])
def test_sampling_on_a_gpu_takes_what_is_computed(name, dtype):
    measured = measured_sampling_memory(model_config(name), 64, 5, dtype, torch.device("cuda"))
    assert measured == pytest.approx(sampling_memory(model_config(name), 64, 5, dtype).peak_bytes, rel=0.05)


def test_the_cells_of_the_grid():
    cells = get_cells("memory", get_suite("digits"), Selection())
    assert all(isinstance(c, Footprint) and (c.size, c.batch_size) == ("XL/2", 64) for c in cells)
    assert len({c.key for c in cells}) == len({str(c) for c in cells}) == len(cells) == 28
    training = [c for c in cells if c.phase == "training"]
    for dtype in ("fp16", "fp32"):
        for on in (False, True):
            some = [c for c in training if (c.dtype, c.grad_checkpointing) == (dtype, on)]
            assert [(c.model, c.unroll, c.m) for c in some] == [
                ("dit", "multi-step", 12), ("fpdm", "multi-step", 1), ("fpdm", "multi-step", 3),
                ("fpdm", "multi-step", 6), ("fpdm", "multi-step", 12), ("fpdm", "stochastic", 12),
            ]  # fmt: skip
    assert {(c.model, c.dtype) for c in cells if c.phase == "sampling"} == {
        (model, dtype) for model in ("dit", "fpdm") for dtype in ("fp16", "fp32")
    }
    table1 = {c.key for c in get_cells("compute", get_suite("digits"), Selection()) if isinstance(c, Footprint)}
    assert len(table1 & {c.key for c in cells}) == 2  # shared, so evaluated once
    assert {c.model for c in get_cells("memory", get_suite("digits"), Selection(models=("fpdm",)))} == {"fpdm"}


def footprint(**changes):
    config = model_config("fpdm_s_2", depth=6, **TINY)
    settings = "digits", "fpdm", config, "tiny", 8, "fp16", "training", "multi-step"
    return replace(Footprint(*settings, n=2, m=4), **changes)


def test_records_of_footprints(tmp_path):
    evaluator = Evaluator(Setting(Store(tmp_path, "digits"), CPU))
    steps = [evaluator.evaluate(footprint(m=m)).metrics for m in (1, 2, 3, 4)]
    mean = evaluator.evaluate(footprint(unroll="stochastic")).metrics
    assert mean["peak_bytes"] == round(sum(step["peak_bytes"] for step in steps) / 4)
    assert mean["parameters"] == steps[0]["parameters"] == steps[0]["parameters_bytes"] / 4
    recomputed = evaluator.evaluate(footprint(grad_checkpointing=True)).metrics
    assert recomputed["peak_bytes"] < steps[3]["peak_bytes"]
    sampling = evaluator.evaluate(footprint(phase="sampling", unroll="", n=5, m=0)).metrics
    assert sampling["peak_bytes"] == sampling["parameters_bytes"] + sampling["activations_bytes"]
    assert "measured_peak_bytes" not in sampling
    parts = ("parameters", "optimizer", "ema", "peak_gradients", "activations")
    assert sum(recomputed[f"{part}_bytes"] for part in parts) == recomputed["peak_bytes"]


def test_on_a_gpu_the_measured_peak_is_recorded_beside(tmp_path, monkeypatch):
    calls = []

    def measured(config, batch_size, unroll, dtype, grad_checkpointing, device):
        calls.append((unroll, dtype, grad_checkpointing))
        if unroll.with_grad == 3:
            raise torch.OutOfMemoryError("too large")
        return 1000 * unroll.with_grad

    monkeypatch.setattr("bench.profiling.footprint.measured_training_memory", measured)
    monkeypatch.setattr("bench.profiling.footprint.measured_sampling_memory", lambda *arguments: 77)
    monkeypatch.setattr("bench.evaluation.evaluator.describe", lambda device: {"device": device.type})
    evaluator = Evaluator(Setting(Store(tmp_path, "digits"), torch.device("cuda")))
    assert evaluator.evaluate(footprint(m=2)).metrics["measured_peak_bytes"] == 2000
    assert evaluator.evaluate(footprint(m=2, unroll="stochastic")).metrics["measured_peak_bytes"] == 1500
    assert calls == [(Unroll(2, 2), "fp16", False), (Unroll(2, 1), "fp16", False), (Unroll(2, 2), "fp16", False)]
    too_large = evaluator.evaluate(footprint(m=3))
    assert too_large.status == "done"
    assert "measured_peak_bytes" not in too_large.metrics
    sampling = evaluator.evaluate(footprint(phase="sampling", unroll="", n=5, m=0))
    assert sampling.metrics["measured_peak_bytes"] == 77


def test_a_step_that_is_measured_says_that_memory_does_not_suffice(tiny_suite, cpu, monkeypatch):
    config = tiny_suite.baseline.config
    step = training_step(build(config), config, 2, "fp32", cpu)

    def too_large(*arguments):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr("bench.training.step.batch_loss", too_large)
    with pytest.raises(torch.OutOfMemoryError):  # no bad input, which would end the whole grid
        step.take(0, Unroll(0, 1))
