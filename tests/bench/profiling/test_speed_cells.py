"""Speed cells: what is timed does what it is called, every speed-up gives the numbers of the plain path."""

import shutil
from dataclasses import replace

import pytest
import torch
from pretend_gpu import CUDA

from bench.evaluation.evaluator import Evaluator
from bench.machine.execution import Execution
from bench.profiling import speed
from bench.profiling.plain_networks import PlainStack, plain_network
from bench.sampling.setting import Setting
from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import calibration
from bench.spec.selection import Selection
from bench.training.turns import train_together
from models.families import build
from models.fixed_point.unroll import Unroll
from models.networks.compiled import compile_regions
from models.networks.fpdm import ImplicitLayer
from models.zoo import model_config

CPU = torch.device("cpu")


def compiles(test):
    """A test that compiles; torch's compiler warns of what it does itself."""
    test = pytest.mark.filterwarnings("ignore")(test)
    return pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")(test)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(speed, "LEAST_S", 0.0)
    monkeypatch.setattr(speed, "RATE_SIDE", 64)


@pytest.fixture
def cell(tiny_suite):
    return replace(calibration(tiny_suite), batch_size=3, budgets=(8, 16), iterations=(1, 3))


def randomized(config):
    """A network whose blocks are not the identity."""
    torch.manual_seed(0)
    model = build(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.05)
    return model


def test_a_record_has_every_part_in_every_round(cell, store):
    record = Evaluator(Setting(store, CPU)).evaluate(cell)
    assert record.status == "done", record.reason
    seconds = record.series["seconds"]
    assert set(seconds) == {
        "block", "bare block", "iteration", "binding", "dit step", "fpdm step", "dit training step",
        "fpdm training step", "stack", "plain stack", "product",
        "dit 8", "fpdm 8 k=1", "fpdm 8 k=3", "dit 16", "fpdm 16 k=1", "fpdm 16 k=3",
    }  # fmt: skip
    assert {len(rounds) for rounds in seconds.values()} == {speed.ROUNDS}
    assert min(min(rounds) for rounds in seconds.values()) > 0
    assert record.metrics["iteration_s"] == pytest.approx(sorted(seconds["iteration"])[speed.ROUNDS // 2])
    assert record.metrics["macs_per_s"] == pytest.approx(64**3 / min(seconds["product"]))


def test_runs_take_the_passes_that_they_are_named_after(cell, monkeypatch):
    """DiT of depth 4: 2 and 4 steps. FPDM of 1+k+1: 8 // 3 and 8 // 5 steps of k iterations."""
    iterations, blocks = [], []
    original = ImplicitLayer.iterate
    monkeypatch.setattr(ImplicitLayer, "iterate", lambda self, *a, **k: iterations.append(1) or original(self, *a, **k))
    networks = speed.Networks(cell, CPU)
    for block in networks._networks["dit"].blocks:
        block.register_forward_hook(lambda *_: blocks.append(1))
    runs = networks.runs()
    for name, spent in {"dit 8": 8, "dit 16": 16, "fpdm 8 k=1": 2, "fpdm 8 k=3": 3, "fpdm 16 k=3": 9}.items():
        iterations.clear(), blocks.clear()
        runs[name].call()
        assert len(blocks if name.startswith("dit") else iterations) == spent


def test_a_training_step_is_the_mean_over_draws(cell, monkeypatch):
    drawn = []
    original = Unroll.__call__
    monkeypatch.setattr(Unroll, "__call__", lambda self, f, z: drawn.append(self) or original(self, f, z))
    part = speed.Networks(replace(cell, n_max=6, m_max=4), CPU).parts()["fpdm training step"]
    part.call()
    assert part.units == len(drawn) == 4
    assert sum(u.without_grad for u in drawn) / 4 == 6 / 2
    assert sum(u.with_grad for u in drawn) / 4 == (1 + 4) / 2


def test_rounds_alternate_and_count_units():
    order = []
    parts = {"a": speed.Part(lambda: order.append("a"), units=2), "b": speed.Part(lambda: order.append("b"))}
    series = speed.in_rounds(parts, CPU, "", rounds=3)
    assert order[-6:] == ["a", "b"] * 3
    assert [len(rounds) for rounds in series.values()] == [3, 3]


def test_the_plain_stack_computes_the_same(tiny_suite):
    model = randomized(replace(tiny_suite.baseline.config, hidden_size=64)).eval()
    x, condition = torch.randn(40, 16, 64), torch.randn(40, 64)
    with torch.inference_mode():
        ours, plain = model.blocks(x, condition), PlainStack(model.blocks)(x, condition)
    assert (ours - x).abs().max() > 0.1
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gradient", [False, True], ids=["sampling", "training"])
@pytest.mark.parametrize(("width", "tokens", "batch"), [(64, 16, 125), (1152, 256, 1)], ids=["digits", "xl_2"])
def test_products_and_norms_of_the_faster_kernels_are_the_plain_ones(width, tokens, batch, gradient):
    """At the sizes where the faster kernels are taken: outputs, and gradients with respect to inputs and weights."""
    config = model_config("dit_xl_2", depth=1, hidden_size=width, num_heads=width // 16)
    model = randomized(config)
    x, condition = torch.randn(batch, tokens, width), torch.randn(batch, width)
    results = []
    for stack in (model.blocks, PlainStack(model.blocks)):
        leaf = x.clone().requires_grad_(gradient)
        with torch.inference_mode(not gradient):
            out = stack(leaf, condition)
        found = torch.autograd.grad(out.square().mean(), [leaf, *stack.parameters()]) if gradient else ()
        results.append([out.detach(), *found])
    for ours, theirs in zip(*results, strict=True):
        scale = theirs.abs().max()
        assert scale > 0
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-5)


def test_the_plain_fpdm_computes_the_same_with_the_same_gradients(tiny_suite):
    config = replace(tiny_suite.subject.config, hidden_size=64)
    ours, plain = randomized(config), plain_network(config)
    plain.load_state_dict(ours.state_dict())
    x, t, y = torch.randn(40, 1, 8, 8), torch.arange(40) * 20, torch.arange(40) % 10
    results = []
    for model in (ours, plain):
        out = model.predict(x, t, y, Unroll(1, 2))
        out.value.square().mean().backward()
        results.append({"out": out.value, "z": out.state} | {name: p.grad for name, p in model.named_parameters()})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-5)


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("name", ["dit", "fpdm"])
def test_compiled_regions_compute_the_same_with_the_same_gradients(name, tiny_suite):
    config = tiny_suite.contender(name).config
    plain, compiled = randomized(config), randomized(config)
    names = list(compiled.state_dict())
    compile_regions(compiled)
    assert list(compiled.state_dict()) == names
    x, t, y = torch.randn(5, 1, 8, 8), torch.arange(5) * 200, torch.arange(5)
    results = []
    for model in (plain, compiled):
        out = model.predict(x, t, y, Unroll(2, 3)).value
        gradients = torch.autograd.grad(out.square().mean(), list(model.parameters()), allow_unused=True)
        with torch.inference_mode():
            sampled = model.predict(x, t, y, 4).value
        results.append([out, sampled, *(g for g in gradients if g is not None)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@compiles
@pytest.mark.slow
def test_a_compiled_run_trains_alike_and_its_compilation_is_off_the_clock(tiny_suite, tiny_run, store, tmp_path):
    from bench.store.records import Store

    run, other = tiny_run("fpdm", steps=4), Store(tmp_path / "compiled", "digits")
    train_together([run], store, CPU)
    train_together([run], other, CPU, Execution(compiled=True))
    eager, compiled = store.read_training(run), other.read_training(run)
    assert compiled["loss"] == pytest.approx(eager["loss"], rel=1e-4)
    assert (eager["execution"], compiled["execution"]) == ("", "compiled")
    assert compiled["off_clock_s"]["warm_up"] > compiled["elapsed_s"]
    (one,) = get_cells("datasets", tiny_suite, Selection((12,), ("fpdm",), 8, (0,), train_steps=4))[:1]
    record = Evaluator(Setting(other, CPU, execution=Execution(compiled=True))).evaluate(one)
    assert record.status == "done", record.reason
    assert record.timing["compile_s"] > record.timing["sampling_s"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_every_part_runs_on_a_gpu_that_is_not_there(dtype, cell, store, gpu, monkeypatch):
    monkeypatch.setattr(speed, "find_repeats", lambda part, device: (1, 1.0))
    monkeypatch.setattr(speed, "ROUNDS", 1)
    record = Evaluator(Setting(store, CUDA)).evaluate(replace(cell, dtype=dtype))
    assert record.status == "done", record.reason
    low = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert gpu.seen["_scaled_dot_product_efficient_attention"] == {low}


def test_without_a_compiler_a_compiled_cell_is_skipped(cell, store, monkeypatch):
    monkeypatch.setattr("bench.profiling.speed.why_not_compile", lambda device: "no C++ compiler")
    record = Evaluator(Setting(store, CPU)).evaluate(replace(cell, compiled=True))
    assert (record.status, record.series) == ("skipped", {})
    assert "C++ compiler" in record.reason
