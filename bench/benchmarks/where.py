"""Where the time of a training step and of a network's forward pass goes: python -m bench.benchmarks.where

One thread of a CPU. Each operator's own time, by torch's profiler, is counted to a class. What is left of the whole is
Python and dispatch. `ms` is measured without the profiler, which slows Python down.
"""

import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from bench.benchmarks.kept import keep
from bench.benchmarks.public_code.peers import FORWARD, UNROLL
from bench.machine.compiler import why_not_compile
from bench.machine.devices import stay_within_cores
from bench.machine.execution import EAGER, Execution
from bench.machine.provenance import describe
from bench.profiling.noise import training_step
from bench.spec.suites import get_suite
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.progress import interval_s
from bench.training.clock import seconds_of
from models.config import ModelConfig
from models.families import build
from models.fixed_point.unroll import Unroll
from models.networks.compiled import compile_regions

CPU = torch.device("cpu")
SIZES = {"digits": ("digits", 128, True), "fashion-cpu": ("fashion-cpu", 64, True), "xl_2": ("imagenet", 1, False)}
REPEATS = 7
REST = "Python and dispatch"
CLASSES = {  # beginnings of operators' names; the first class that has one counts
    "products": ("aten::mm", "aten::addmm", "aten::linear", "aten::matmul"),
    "attention": ("aten::_scaled_dot_product", "aten::bmm", "aten::_softmax", "aten::baddbmm"),
    "norms": ("aten::native_layer_norm",),
    "fused": ("## Call CompiledFxGraph",),
    "optimizer and averages": ("aten::_fused_adamw", "aten::_foreach", "aten::linalg_vector_norm"),
    "copies": ("aten::copy_", "aten::cat", "aten::fill_", "aten::zero", "aten::clone", "aten::contiguous", "aten::_to"),
    "pointwise": (
        "aten::gelu", "aten::mul", "aten::add", "aten::sigmoid", "aten::silu", "aten::sum", "aten::sub", "aten::div",
        "aten::neg", "aten::exp", "aten::pow", "aten::sin", "aten::cos", "aten::rsub", "aten::lerp", "aten::mean",
        "aten::tanh", "aten::normal_", "aten::index", "aten::embedding", "aten::where", "aten::sqrt", "aten::log",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Profile DiT and FPDM, eager and compiled, on one thread of a CPU."""

    sizes: tuple[str, ...] = tuple(SIZES)
    """Networks: digits, fashion-cpu or xl_2 (one image, forward only)."""
    results: Path = Path("results")
    """Results folder; where.json and where.md are written to its folder performance."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    if unknown := sorted(set(arguments.sizes) - SIZES.keys()):
        raise BadInputError(f"--sizes {' '.join(unknown)}: unknown; choose from {', '.join(SIZES)}")
    stay_within_cores()
    torch.set_num_threads(1)
    rows = []
    works = [(size, name, mode) for size in arguments.sizes for name in ("dit", "fpdm") for mode in (False, True)]
    for size, name, compiled in tqdm(works, desc="profiling", mininterval=interval_s()):
        if compiled and why_not_compile(CPU):
            continue
        suite, batch, trained = SIZES[size]
        config = get_suite(suite).contender(name).config
        head = {"size": size, "batch": batch, "network": name, "mode": "compiled" if compiled else "eager"}
        for work, call in _works(config, batch, compiled, trained).items():
            rows.append(head | {"work": work} | _profile(call))
    print(keep(arguments.results, "where", {"environment": describe(CPU), "measured": rows}, table(rows)), end="")
    return 0


def _works(config: ModelConfig, batch: int, compiled: bool, trained: bool) -> dict[str, Callable[[], object]]:
    """A forward pass, with 8 iterations of FPDM, and the trainer's step, with 3 + 4 of them."""
    network = build(config).eval()
    if compiled:
        compile_regions(network)
    x = torch.randn(batch, config.in_channels, config.input_size, config.input_size)
    t = y = torch.zeros(batch, dtype=torch.int64)

    def forward() -> None:
        with torch.no_grad():
            network.predict(x, t, y, FORWARD)

    works: dict[str, Callable[[], object]] = {"forward": forward}
    if trained:
        execution = Execution(compiled=True) if compiled else EAGER
        step = training_step(build(config).train(), config, batch, "fp32", CPU, execution)
        step.warm_up()
        works["training step"] = lambda: step.take(1, Unroll(*UNROLL))
    return works


def _profile(call: Callable[[], object]) -> dict[str, Any]:
    """Median milliseconds, share of each class (percent of the profiled time), and large operators without a class."""
    call()
    seconds = [seconds_of(call, CPU) for _ in range(REPEATS)]
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        profiled_s = seconds_of(call, CPU)
    own_s: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for event in profiler.key_averages():
        found = class_of(event.key)
        own_s[found] += event.self_cpu_time_total / 1e6
        if found == REST:
            others[event.key] += event.self_cpu_time_total / 1e6
    shares = {name: 100 * own_s[name] / profiled_s for name in CLASSES}
    return {
        "ms": 1e3 * statistics.median(seconds),
        "products_ms": 1e3 * own_s["products"],
        "percent": shares | {REST: 100 - sum(shares.values())},
        "largest_of_the_rest": {name: 100 * s / profiled_s for name, s in others.most_common(5)},
    }


def class_of(operator: str) -> str:
    """The class of an operator by its name."""
    return next((name for name, beginnings in CLASSES.items() if operator.startswith(beginnings)), REST)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Milliseconds, and percent of each class."""
    return pd.DataFrame(
        {
            **{name: row[name] for name in ("size", "batch", "work", "network", "mode")},
            "ms": f"{row['ms']:.1f}",
            **{f"{name}, %": f"{share:.0f}" for name, share in row["percent"].items()},
            "ms / ms of products": f"{row['ms'] / row['products_ms']:.2f}",
        }
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(run(main))
