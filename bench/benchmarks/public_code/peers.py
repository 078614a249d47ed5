"""Our networks against the public code, in the same rounds: the official DiT and the released FPDM.

The public code is a checkout that the user names. It runs in a process of its own (`public_side`), by turns with ours.
Both have the same weights; predictions and gradients are compared before anything is timed.

- forward: without gradients. FPDM runs 8 iterations.
- training step: noise, loss, gradients, AdamW and averaged weights, each side by its own code. FPDM unrolls 3
  iterations without and 4 with gradients. Ours also clips gradients. The official DiT predicts noise, the others
  velocity.
- products: the linear maps of DiT alone, forward, or forward and backward, as bare matrix products.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.benchmarks.kept import keep
from bench.benchmarks.public_code.peer_table import NETWORKS, OPTIONS, REPOSITORIES, table
from bench.benchmarks.public_code.process import Run, public_process
from bench.machine.compiler import why_not_compile
from bench.machine.execution import EAGER, Execution
from bench.machine.provenance import describe, git
from bench.profiling.noise import training_step
from bench.profiling.speed import LEAST_S
from bench.spec.suites import get_suite
from bench.system.errors import BadInputError
from bench.system.files import check_writable
from bench.system.progress import interval_s
from bench.training.clock import seconds_of
from models.config import ModelConfig
from models.families import build
from models.fixed_point.unroll import Unroll
from models.networks.compiled import compile_regions
from models.networks.network import Network
from models.released import load_released

_SHAPE = ("input_size", "patch_size", "in_channels", "hidden_size", "depth", "num_heads", "num_classes")
PARTS = ("forward", "training step")
FORWARD, UNROLL = 8, (3, 4)
TOLERANCE = 1e-5  # of predictions and gradients, relative to the largest
ROUNDS = 7


@dataclass(frozen=True)
class Size:
    """A size of the networks, with its batch."""

    name: str
    changes: dict[str, Any]
    batch: int

    def config(self, network: str) -> ModelConfig:
        """The configuration of "dit" or "fpdm"."""
        return replace(get_suite("digits").contender(network).config, **self.changes)


SIZES = {
    size.name: size
    for size in (
        Size("digits", {}, 128),
        Size(
            "s_2",
            {"input_size": 32, "in_channels": 4, "hidden_size": 384, "depth": 12, "num_heads": 6, "num_classes": 1000},
            16,
        ),
        Size("tiny", {"hidden_size": 16, "num_heads": 2, "depth": 2}, 4),
    )
}


def measure(
    checkouts: dict[str, Path | None], results: Path, sizes: Sequence[str] = ("digits", "s_2"), rounds: int = ROUNDS
) -> str:
    """Time all parts; writes RESULTS/performance/peers.json and peers.md, and returns the table.

    Args:
        checkouts: folder of the public code, or None, by network.
        results: results folder.
        sizes: names in SIZES.
        rounds: how often each part is timed.

    Raises:
        BadInputError: no such size, no such checkout, or its results are not ours.
    """
    if unknown := sorted(set(sizes) - SIZES.keys()):
        raise BadInputError(f"--sizes {' '.join(unknown)}: unknown; choose from {', '.join(SIZES)}")
    public = {name: _checkout(name, path) for name, path in checkouts.items() if path is not None}
    check_writable(results, f"--results {results}")
    cores = torch.get_num_threads()
    measured: list[dict[str, Any]] = []
    try:
        for size in sizes:
            for threads in sorted({1, cores}):
                torch.set_num_threads(threads)
                for name, checkout in checkouts.items():
                    measured += _measure(name, SIZES[size], threads, checkout, rounds)
    finally:
        torch.set_num_threads(cores)
    found: dict[str, Any] = {"environment": describe(torch.device("cpu")), "measured": measured}
    for i, key in enumerate(("commits", "changed")):
        found[key] = {name: both[i] for name, both in public.items()}
    return keep(results, "peers", found, table(measured))


def _checkout(name: str, folder: Path) -> tuple[str | None, list[str] | None]:
    """Commit of a checkout of the public code, None if it has none of its own, and the modules changed since.

    Raises:
        BadInputError: other code is in the folder.
    """
    where = f"{OPTIONS[name]} {folder}"
    if not (folder / "models.py").is_file() or not (folder / "diffusion" / "__init__.py").is_file():
        raise BadInputError(f"{where}: no models.py and diffusion/ in it; give a checkout of {REPOSITORIES[name]}")
    # the released code has a DiT too, which takes longer because it recomputes blocks
    if (b"fixed_point" in (folder / "models.py").read_bytes()) != (name == "fpdm"):
        raise BadInputError(f"{where}: the code of another model; give a checkout of {REPOSITORIES[name]}")
    top, *commit = (git(folder.resolve(), "rev-parse", "--show-toplevel", "HEAD") or "").splitlines() or [""]
    if not commit or not os.path.samefile(top, folder):  # an outer repository's commit says nothing about it
        return None, None
    status = git(folder.resolve(), "status", "--porcelain", "--untracked-files=all", "--", "*.py") or ""
    return commit[0], [line.split(maxsplit=1)[1] for line in status.splitlines()]


def _measure(name: str, size: Size, threads: int, checkout: Path | None, rounds: int) -> Iterator[dict[str, Any]]:
    """An entry for each part of a network: seconds of each round by side, and how far results are apart."""
    config, sides, apart = size.config(name), dict[str, dict[str, Run]](), dict[str, dict[str, float]]()
    title = f"{NETWORKS[name]} {size.name}"
    with ExitStack() as stack:
        theirs: dict[str, Tensor] = {}
        if checkout is not None:
            order = {"config": {key: getattr(config, key) for key in _SHAPE}, "batch": size.batch, "threads": threads}
            order |= {"forward": FORWARD, "unroll": UNROLL}
            sides["public"], theirs = stack.enter_context(public_process(name, checkout, order, PARTS))
        for mode in ("eager", "compiled"):
            if mode == "compiled" and why_not_compile(torch.device("cpu")):
                continue
            network = build(config).eval()
            if theirs:
                load_released(network, _named(theirs, "weight."))
            sides[mode] = _ours(network, config, size.batch, mode == "compiled")
            if theirs:
                apart[mode] = _compare(network, config, theirs, f"{title}, {mode}")
        if name == "dit":
            sides["products"] = _products(build(config), config, size.batch)
        for part in PARTS:
            entry = {"network": name, "size": size.name, "batch": size.batch, "threads": threads, "part": part}
            runs = {side: found[part] for side, found in sides.items()}
            seconds = _in_rounds(runs, rounds, f"{title} {part}, {threads} thread(s)")
            yield entry | {"seconds": seconds, "apart": apart}


def _here(call: Callable[[], object]) -> Run:
    def run(repeats: int) -> float:
        return seconds_of(lambda: [call() for _ in range(repeats)], torch.device("cpu"))

    return run


def _ours(network: Network, config: ModelConfig, batch: int, compiled: bool) -> dict[str, Run]:
    """Our side. A copy of the network is trained: its weights change."""
    device = torch.device("cpu")
    execution = Execution(True) if compiled else EAGER
    step = training_step(deepcopy(network).train(), config, batch, "fp32", device, execution)
    step.warm_up()
    if compiled:
        compile_regions(network)
    size = config.input_size
    x = torch.randn(batch, config.in_channels, size, size)
    t, y = torch.randint(0, 1000, (batch,)), torch.zeros(batch, dtype=torch.int64)

    def forward() -> None:
        with torch.no_grad():
            network.predict(x, t, y, FORWARD)

    return {"forward": _here(forward), "training step": _here(lambda: step.take(1, Unroll(*UNROLL)))}


def _named(tensors: dict[str, Tensor], beginning: str) -> dict[str, Tensor]:
    return {name.removeprefix(beginning): tensor for name, tensor in tensors.items() if name.startswith(beginning)}


def _compare(network: Network, config: ModelConfig, theirs: dict[str, Tensor], what: str) -> dict[str, float]:
    """The largest differences of predictions and gradients, each relative to the largest value of its tensor.

    A gradient that only one side has is compared with zero.

    Raises:
        BadInputError: a difference is over TOLERANCE, or no number.
    """
    x, t, y = theirs["x"], theirs["t"], theirs["y"]
    with torch.no_grad():
        prediction = network.predict(x, t, y, FORWARD).value
    (network.predict(x, t, y, Unroll(*UNROLL)).value * theirs["probe"]).mean().backward()
    holder = build(config)  # takes their gradients by our names
    zeros = {name: torch.zeros_like(weight) for name, weight in _named(theirs, "weight.").items()}
    load_released(holder, zeros | _named(theirs, "gradient."))
    gradients = [
        (torch.zeros_like(p) if p.grad is None else p.grad, other.detach())
        for p, other in zip(network.parameters(), holder.parameters(), strict=True)
    ]
    network.zero_grad()
    apart = {"predictions": _apart([(prediction, theirs["prediction"])]), "gradients": _apart(gradients)}
    for results, difference in apart.items():
        if not difference <= TOLERANCE:
            raise BadInputError(f"{what}: {results} are {difference:.1e} from the public code's, over {TOLERANCE}")
    return apart


def _apart(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    relative = [(ours - other).abs().max() / other.abs().max().clamp_min(1e-12) for ours, other in pairs]
    return float(torch.stack(relative).max())  # NaN if one of them is


def _products(network: Network, config: ModelConfig, batch: int) -> dict[str, Run]:
    """The linear maps of one forward pass as bare products, and with the two products of each backward pass."""
    shapes: list[tuple[int, int, int]] = []  # rows, inputs, outputs

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes.append((output.numel() // output.shape[-1], inputs[0].shape[-1], output.shape[-1]))

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        x = torch.zeros(batch, config.in_channels, config.input_size, config.input_size)
        network.predict(x, torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.int64), FORWARD)
    for hook in hooks:
        hook.remove()
    made = {shape: (torch.randn(shape[:2]), torch.randn(shape[1:]), torch.randn(shape[::2])) for shape in set(shapes)}

    def forward() -> None:
        for shape in shapes:
            torch.mm(made[shape][0], made[shape][1])

    def both() -> None:
        forward()
        for shape in shapes:
            x, weight, gradient = made[shape]
            torch.mm(gradient, weight.t())
            torch.mm(x.t(), gradient)

    return {"forward": _here(forward), "training step": _here(both)}


def _in_rounds(runs: dict[str, Run], rounds: int, what: str) -> dict[str, list[float]]:
    """Seconds of a call of each side in each round; sides take turns."""
    repeats = {}
    for side, run in runs.items():
        run(1)  # lazy initialization, compilation
        repeats[side] = max(1, round(LEAST_S / run(1)))
    series: dict[str, list[float]] = {side: [] for side in runs}
    for _ in tqdm(range(rounds), desc=what, mininterval=interval_s(), leave=False):
        for side, run in runs.items():
            series[side].append(run(repeats[side]) / repeats[side])
    return series
