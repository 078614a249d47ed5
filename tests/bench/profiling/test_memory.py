from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.overrides import TorchFunctionMode

from bench.machine.dtypes import DTYPES
from bench.profiling.memory import StorageMeter, _CudaRules, mean_memory, training_memory
from bench.profiling.noise import sample_twice
from models.diffusion.sampling import sample
from models.families import build, family_of, parameters
from models.fixed_point.unroll import Unroll
from models.zoo import model_config

GIB = 2**30


def test_meter_of_a_chain_of_sums():
    with torch.device("meta"), StorageMeter() as meter:
        a, b = torch.empty(250), torch.empty(250)  # 1000 bytes each
        assert meter.live == 2000
        c = a + b
        c = c + b  # its old storage lives until the new one is there
        assert (meter.live, meter.peak) == (3000, 4000)
        del a, b, c
        assert (meter.live, meter.peak) == (0, 4000)


def test_meter_counts_a_storage_once():
    with torch.device("meta"), StorageMeter() as meter:
        a = torch.empty(10, 25)
        view = a.t()[3:].unsqueeze(0)
        a.add_(1).mul_(view.mean())
        del a
        assert meter.live == 1000  # the view holds it
        assert meter.peak == 1004
        half = view.to(torch.float16)
        assert meter.live == 1000 + 2 * view.numel()
        del view, half
        assert meter.live == 0


def test_meter_sees_what_autograd_keeps():
    with torch.device("meta"), StorageMeter() as meter:
        x = torch.empty(100, requires_grad=True)
        y = x.exp().sin().sum()  # exp keeps its result, which is also sin's input; sin's result goes
        assert meter.live == 400 + 400 + 4
        y.backward()
        assert meter.live == 400 + 400 + 4  # x, its gradient, y


@pytest.mark.parametrize("kind", ["dit", "fpdm"])
def test_weights_and_what_the_optimizer_keeps(kind):
    config = model_config(f"{kind}_s_2")
    size = 4 * sum(p.numel() for p in build(config).parameters())
    memory = training_memory(config, 2, Unroll(1, 1), "fp16")
    assert memory.parameters_bytes == memory.gradients_bytes == memory.ema_bytes == size
    assert memory.optimizer_bytes == 2 * size
    assert memory.peak_bytes == 4 * size + memory.peak_gradients_bytes + memory.activations_bytes


@pytest.mark.parametrize("dtype", DTYPES)
def test_iterations_cost_memory_only_with_gradient(dtype):
    config = model_config("fpdm_s_2")
    peak = {(n, m): training_memory(config, 16, Unroll(n, m), dtype).peak_bytes for n in (0, 1, 4) for m in (2, 3, 4)}
    state = 4 * 16 * config.tokens * config.hidden_size
    for m in (2, 3, 4):
        assert peak[4, m] == peak[1, m]
        assert 0 <= peak[1, m] - peak[0, m] <= state  # with n = 0 the iteration starts from x_pre itself
    assert peak[0, 4] - peak[0, 3] == peak[0, 3] - peak[0, 2] > 0


def test_dit_ignores_the_unroll_and_bf16_is_fp16():
    config = model_config("dit_s_2")
    assert training_memory(config, 4, Unroll(0, 1), "fp16") == training_memory(config, 4, Unroll(5, 7), "bf16")


def test_activations_grow_with_the_batch_and_attention_matrices_are_not_kept():
    config = model_config("dit_s_2")
    one, two, four = (training_memory(config, b, Unroll(0, 1)).activations_bytes for b in (32, 64, 128))
    assert (four - two) / (two - one) == pytest.approx(2, rel=0.02)
    quadrupled = training_memory(model_config("dit_s_2", input_size=64), 32, Unroll(0, 1)).activations_bytes
    assert quadrupled / one < 4.1


def test_unknown_dtype():
    with pytest.raises(ValueError, match="fp32, fp16, bf16"):
        training_memory(model_config("dit_s_2"), 1, Unroll(0, 1), "fp8")


# The paper measured 25.2 and 10.2 GB, on V100s, with its own implementation.
@pytest.mark.parametrize(
    ("name", "m", "dtype", "gib"),
    [
        ("dit_xl_2", 1, "fp16", 35.44),
        ("fpdm_xl_2", 1, "fp16", 4.76),
        ("fpdm_xl_2", 6, "fp16", 9.89),
        ("fpdm_xl_2", 12, "fp16", 15.99),
        ("dit_xl_2", 1, "fp32", 49.96),
        ("fpdm_xl_2", 12, "fp32", 25.79),
    ],
)
def test_xl_2_at_batch_64(name, m, dtype, gib):
    memory = training_memory(model_config(name), 64, Unroll(3, m), dtype)
    assert memory.peak_bytes / GIB == pytest.approx(gib, rel=0.02)


def test_fp32_activations_of_a_block_by_hand():
    """What one more DiT block keeps, in units of one fp32 (batch, tokens, hidden) tensor:

    norm1's input, its output (for the scale) and qkv's input (3), q, k, v (3), attention's output (1), attn.proj's
    output (for the gate) (1); norm2's input, its output, fc1's input (3), fc1's output and GELU's (8), fc2's (1).
    """
    batch = 64
    shallow, deep = (model_config("dit_b_2", depth=depth) for depth in (2, 3))
    unit = 4 * batch * shallow.tokens * shallow.hidden_size
    d = shallow.hidden_size
    weights = 4 * (parameters(deep) - parameters(shallow))
    modulation = 4 * batch * (6 + 2 + 1) * d  # six vectors, two of them again with 1 added, SiLU's result
    statistics = 4 * batch * shallow.tokens * (4 + shallow.num_heads)  # layer norms' mean and rstd, log-sum-exp
    small, large = (training_memory(config, batch, Unroll(0, 1)) for config in (shallow, deep))
    grown = large.activations_bytes - small.activations_bytes
    assert grown == pytest.approx(20 * unit + modulation + statistics, abs=weights)


@contextmanager
def cuda_autocast(dtype):
    """`torch.autocast("cuda")` warns and does nothing without a GPU; its switches do not."""
    torch.set_autocast_enabled("cuda", dtype is not None)
    torch.set_autocast_dtype("cuda", dtype or torch.float16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


class EfficientAttention(TorchFunctionMode):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = (a.to(self.dtype or a.dtype) for a in args)
        return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[0]


def test_the_parts_are_those_at_the_peak():
    """A deep, narrow stack, recomputed, has its peak in the last block of backward, when most gradients are there."""
    config = model_config("dit_s_2", depth=20, input_size=4)
    memory = training_memory(config, 1, Unroll(0, 1), grad_checkpointing=True)
    block = 4 * (parameters(config) - parameters(model_config("dit_s_2", depth=19, input_size=4)))
    assert 18 * block < memory.peak_gradients_bytes <= memory.gradients_bytes
    assert memory.activations_bytes < 2 * block
    plain = training_memory(model_config("dit_s_2"), 256, Unroll(0, 1))
    assert plain.peak_gradients_bytes < 0.01 * plain.gradients_bytes  # it lies before backward


def test_the_mean_of_each_part():
    config = model_config("fpdm_s_2")
    one, two, three = (training_memory(config, 4, Unroll(1, m), "fp16") for m in (1, 2, 3))
    mean = mean_memory([one, two, three])
    assert mean.parameters_bytes == one.parameters_bytes
    assert mean.peak_bytes == round((one.peak_bytes + two.peak_bytes + three.peak_bytes) / 3)
    assert one.peak_bytes < mean.peak_bytes < three.peak_bytes


def forward(config, device, *rules, grad_checkpointing=False):
    """Bytes alive after forward, and their peak. `rules`: makers of what it runs under, nothing else holding them."""
    with torch.device(device), StorageMeter() as meter:
        model = build(config).train()
        model.set_grad_checkpointing(grad_checkpointing)
        x = torch.empty(3, config.in_channels, config.input_size, config.input_size)
        t = y = torch.empty(3, dtype=torch.int64)
        with ExitStack() as stack:
            for rule in rules:
                stack.enter_context(rule())
            # n = 0: with n > 0 the unroll empties autocast's cache on its way, and a few biases are cast twice
            prediction = model.predict(x, t, y, Unroll(0, 3))
        assert prediction.value.requires_grad
        return meter.live, meter.peak


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch without CUDA aborts on fake CUDA tensors")
@pytest.mark.parametrize("grad_checkpointing", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["dit_s_2", "fpdm_s_2"])
def test_forward_equals_torchs_cuda_autocast(name, dtype, grad_checkpointing):
    config, low = model_config(name), DTYPES[dtype]
    rules = (lambda: cuda_autocast(low)), (lambda: EfficientAttention(low))
    with FakeTensorMode():
        real = forward(config, "cuda", *rules, grad_checkpointing=grad_checkpointing)
    assert forward(config, "meta", lambda: _CudaRules(low), grad_checkpointing=grad_checkpointing) == real


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch without CUDA aborts on fake CUDA tensors")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["dit_s_2", "fpdm_s_2"])
def test_sampling_equals_torchs_cuda_autocast(name, dtype, monkeypatch):
    """With DDIM: DDPM asks whether a step is the last, and fake tensors have no values."""
    monkeypatch.setattr("bench.profiling.noise.sample", partial(sample, sampler="ddim"))
    config, low = model_config(name), DTYPES[dtype]

    @contextmanager
    def fake_cuda():
        with cuda_autocast(low), EfficientAttention(low):
            yield

    def peak(device, autocast):
        with torch.device(device), StorageMeter() as meter:
            sample_twice(build(config).eval(), config, 3, 4, autocast)
        return meter.peak

    with FakeTensorMode():
        real = peak("cuda", fake_cuda)
    assert peak("meta", lambda: _CudaRules(low)) == real


def recomputation(config, device, forward_rules, backward_rules):
    """Bytes that computing the last block or iteration again adds, at its end and at its peak."""
    with torch.device(device), StorageMeter() as meter:
        model = build(config).train()
        model.set_grad_checkpointing()
        x, y = torch.empty(3, 4, 32, 32), torch.empty(3, dtype=torch.int64)
        with ExitStack() as stack:
            for rule in forward_rules:
                stack.enter_context(rule())
            tokens, condition = model.to_tokens(x), model.y_embedder(y) + model.t_embedder(y)
            f = model.implicit.bind(tokens, condition) if family_of(config).iterates else None
            out = f(f(tokens)) if f is not None else model.blocks(tokens, condition)
        before = meter.peak = meter.live
        with ExitStack() as stack:
            for rule in backward_rules:
                stack.enter_context(rule())
            gated = out.grad_fn  # of x + gate y: addcmul or, under autocast, a sum whose second term is the product
            _ = gated._saved_tensor1 if hasattr(gated, "_saved_tensor1") else gated.next_functions[1][0]._saved_other
        return meter.live - before, meter.peak - before


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch without CUDA aborts on fake CUDA tensors")
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["dit_s_2", "fpdm_s_2"])
def test_recomputation_equals_torchs_cuda_autocast(name, dtype, monkeypatch):
    """But for biases: autocast holds their copies until the recomputation ends, the rules until they are used."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)  # checkpoint enters it
    config, low = model_config(name), DTYPES[dtype]
    attention = partial(EfficientAttention, low)
    with FakeTensorMode():
        kept, peak = recomputation(config, "cuda", [lambda: cuda_autocast(low), attention], [attention])
    rules = [lambda: _CudaRules(low)], [lambda: _CudaRules(low, cached=False)]
    computed_kept, computed_peak = recomputation(config, "meta", *rules)
    assert computed_kept == kept
    assert 0 <= peak - computed_peak <= (0 if low is None else 0.001 * peak)


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="torch without CUDA aborts on fake CUDA tensors")
def test_what_follows_backward_works_in_place():
    with FakeTensorMode(), torch.device("cuda"), StorageMeter() as meter:
        weights = list(build(model_config("fpdm_s_2")).parameters())
        for p in weights:
            p.grad = torch.empty_like(p)
        optimizer, ema = torch.optim.AdamW(weights, fused=True), [p.detach().clone() for p in weights]
        optimizer.step()  # makes the moments
        meter.peak = before = meter.live
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        get_ema_multi_avg_fn(0.5)(ema, weights, 1)
    assert meter.peak - before < 1000  # a norm for each tensor
