"""Seconds of networks' parts and of sampling runs, measured in rounds: each round measures every part once.

If the machine drifts or is shared, the parts of a round slow down alike: ratios hold even if seconds do not. Warm-up is
not counted; on a GPU every measurement waits for the device.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from bench.machine.compiler import why_not_compile
from bench.machine.devices import supported_dtypes
from bench.machine.dtypes import DTYPES, autocast
from bench.profiling.noise import training_step
from bench.profiling.plain_networks import PlainStack, plain_network
from bench.sampling.setting import Setting
from bench.spec.measurements import Speed
from bench.system.progress import interval_s
from bench.training.clock import seconds_of
from models.config import ModelConfig
from models.diffusion.allocation import affordable_steps
from models.diffusion.sampling import SampleNoise, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS, make_schedule, select_timesteps
from models.families import build, family_of, forward_passes
from models.fixed_point.unroll import Unroll
from models.networks.blocks import BlockStack
from models.networks.compiled import compile_regions
from models.networks.network import Network

ROUNDS = 5
LEAST_S = 0.2  # a part is repeated until a measurement takes this long
PRICED_STEPS = 5  # a step's price is the mean over a run of so many: those of DiT at 140 block passes
RATE_SIDE = 2048  # size of the matrices whose product gives the device's rate


@dataclass(frozen=True)
class Part:
    """A piece of work to be timed.

    Attributes:
        call: does the work.
        units: how many units of work one call does; seconds are per unit.
        contexts: make the contexts that calls run in; entered while timed, once for all repeats.
    """

    call: Callable[[], object]
    units: int = 1
    contexts: tuple[Callable[[], AbstractContextManager], ...] = ()

    def repeat(self, count: int) -> None:
        with ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context())
            for _ in range(count):
                self.call()

    def eagerly(self) -> "Part":
        """The same part, run without compilation."""
        return replace(self, contexts=(*self.contexts, lambda: torch.compiler.set_stance("force_eager")))


class Speeds:
    """Measures speed cells."""

    def __init__(self, setting: Setting, sampler: object) -> None:
        self._device = setting.device

    def skip(self, cell: Speed) -> str:
        """Skips a device that does not compute in the dtype, or for which torch.compile cannot work."""
        if cell.dtype not in supported_dtypes(self._device):
            return f"{self._device.type} does not compute in {cell.dtype} here"
        reason = why_not_compile(self._device) if cell.compiled else ""
        return f"torch cannot compile here: {reason}" if reason else ""

    def measure(self, cell: Speed, inputs: object) -> dict[str, Any]:
        """`metrics` are medians, `series` the seconds of every round by part, for one batch.

        Parts, each once "eager" and once "compiled" where a cell compares the two:
            those that networks offer (`timed_parts`): a block with its modulation and without, an iteration, a binding.
            NAME step: a sampling step of a contender, scheduler included; without any iteration.
            NAME training step: forward to EMA; for a family that iterates, the mean over the unrolls of stochastic JFB.
        Cells without compilation also have:
            stack, plain stack: all blocks of the baseline, and the same arithmetic as a sequence of timm's modules.
            product: a large matrix product, whose rate is the device's limit.
            NAME BUDGET, NAME BUDGET k=K: a whole sampling run.
        """
        networks = Networks(cell, self._device)
        metrics: dict[str, float] = {}
        if cell.compiled:
            both = networks.parts()  # once: training steps keep their moments
            started = time.perf_counter()
            for part in both.values():
                part.repeat(1)
            metrics["compile_s"] = time.perf_counter() - started
            parts = {f"compiled {name}": part for name, part in both.items()}
            parts |= {f"eager {name}": part.eagerly() for name, part in both.items()}
        else:
            parts = networks.parts() | networks.stacks() | networks.runs()
        series = in_rounds(parts, self._device, str(cell))
        metrics |= {f"{name.replace(' ', '_').replace('=', '')}_s": statistics.median(s) for name, s in series.items()}
        if "product" in series:
            metrics["macs_per_s"] = RATE_SIDE**3 / min(series["product"])
        timing = {"threads": torch.get_num_threads(), "workers": 1}
        return {"metrics": metrics, "series": {"seconds": series}, "timing": timing}


def in_rounds(parts: dict[str, Part], device: torch.device, what: str, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds per unit of each part in each round. Warm-up calls, which find the repeats, are not counted."""
    repeats = {name: find_repeats(part, device)[0] for name, part in parts.items()}
    series: dict[str, list[float]] = {name: [] for name in parts}
    with tqdm(total=rounds * len(parts), desc=what, mininterval=interval_s(), leave=False) as bar:
        for _ in range(rounds):
            for name, part in parts.items():
                seconds = seconds_of(lambda: part.repeat(repeats[name]), device)  # noqa: B023
                series[name].append(seconds / (repeats[name] * part.units))
                bar.update()
    return series


def find_repeats(part: Part, device: torch.device) -> tuple[int, float]:
    """How many calls take about LEAST_S, and the seconds of one call; a first call is not counted."""
    first_s = seconds_of(lambda: part.repeat(1), device)
    short = first_s < 20 * LEAST_S  # else no repeats are needed, even if the first call is slow
    second_s = seconds_of(lambda: part.repeat(1), device) if short else first_s
    return max(1, round(LEAST_S / second_s)), second_s


class Networks:
    """The networks of a cell with random weights, compiled if the cell says so, and their parts."""

    def __init__(self, cell: Speed, device: torch.device) -> None:
        self._cell, self._device = cell, device
        config = next(iter(cell.configs.values()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._networks = {name: build(config) for name, config in cell.configs.items()}
            self._tokens = torch.randn(cell.batch_size, config.tokens, config.hidden_size).to(device)
            self._condition = torch.randn(cell.batch_size, config.hidden_size).to(device)
        for network in self._networks.values():
            network.to(device).eval()
            if cell.compiled:
                compile_regions(network)

    def parts(self) -> dict[str, Part]:
        """Blocks, iterations, steps."""
        parts: dict[str, Part] = {}
        for network in self._networks.values():
            for name, part in self._timed_parts(network).items():
                parts.setdefault(name, part)
        for name, network in self._networks.items():
            parts[f"{name} step"] = replace(self._run(network, PRICED_STEPS, 0), units=PRICED_STEPS)
        for name, network in self._networks.items():
            parts[f"{name} training step"] = self._training(network, self._cell.configs[name])
        return parts

    def stacks(self) -> dict[str, Part]:
        """The blocks of the baseline, ours and plain; the matrix product."""
        baseline = next(iter(self._networks.values()))
        stack = max((m for m in baseline.modules() if isinstance(m, BlockStack)), key=len)
        plain, dtype = PlainStack(stack), DTYPES[self._cell.dtype] or torch.float32
        side = torch.randn(1, RATE_SIDE, RATE_SIDE, device=self._device).to(dtype)  # autocast has nothing to cast then
        x, condition = self._tokens, self._condition
        return {
            "stack": self._inferred(lambda: stack(x, condition)),
            "plain stack": self._inferred(lambda: plain(x, condition)),
            "product": self._inferred(lambda: F.linear(side, side[0])),
        }

    def plain_parts(self) -> dict[str, Part]:
        """The iteration and the training step of plain networks that iterate."""
        parts = {}
        for name, config in self._cell.configs.items():
            if family_of(config).iterates:
                network = plain_network(config)
                network.to(self._device).eval()
                parts["plain iteration"] = self._timed_parts(network)["iteration"]
                parts[f"plain {name} training step"] = self._training(network, config)
        return parts

    def runs(self) -> dict[str, Part]:
        """Whole sampling runs, at every budget and number of iterations."""
        parts = {}
        for budget, (name, config) in product(self._cell.budgets, self._cell.configs.items()):
            for k in self._cell.iterations if family_of(config).iterates else (0,):
                steps = affordable_steps(budget, forward_passes(config, k))
                parts[f"{name} {budget}" + (f" k={k}" if k else "")] = self._run(self._networks[name], steps, k)
        return parts

    def _autocast(self) -> AbstractContextManager:
        return autocast(self._device, self._cell.dtype)

    def _inferred(self, call: Callable[[], object]) -> Part:
        return Part(call, contexts=(torch.inference_mode, self._autocast))

    def _timed_parts(self, network: Network) -> dict[str, Part]:
        with self._autocast(), torch.inference_mode():
            calls = network.timed_parts(self._tokens, self._condition)
        return {name: self._inferred(call) for name, call in calls.items()}

    def _run(self, network: Network, steps: int, iterations: int) -> Part:
        cell, config = self._cell, next(iter(self._cell.configs.values()))
        shape = (config.in_channels, config.input_size, config.input_size)
        schedule = make_schedule(select_timesteps(steps, "linspace", TIMESTEPS), [iterations] * steps)
        labels = torch.zeros(cell.batch_size, dtype=torch.int64, device=self._device)
        noise_schedule = linear_schedule(TIMESTEPS)

        def run() -> None:
            noise = SampleNoise(0, range(cell.batch_size), shape, self._device)
            sample(network, noise_schedule, schedule, labels, noise)

        return Part(run, contexts=(self._autocast,))

    def _training(self, network: Network, config: ModelConfig) -> Part:
        """Steps at the extremes of stochastic JFB. Their mean is that over all unrolls: seconds are linear in n, m."""
        cell = self._cell
        step = training_step(network, config, cell.batch_size, cell.dtype, self._device)
        n, m = cell.n_max, cell.m_max
        iterates = family_of(config).iterates
        corners = [Unroll(n_, m_) for n_ in (0, n) for m_ in (1, m)] if iterates else [Unroll(0, 1)]

        def steps() -> None:
            for unroll in corners:
                step.take(1, unroll)

        return Part(steps, units=len(corners))
