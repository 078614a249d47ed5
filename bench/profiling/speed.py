"""Seconds of the twins' parts and of their sampling, side by side: every round measures each once.

A machine that drifts, or that others use meanwhile, slows the parts of one round alike, so that their ratios hold where
their seconds do not. Warm-up is not counted; on a GPU every measurement waits for the device.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

from bench.profiling.plain import plain_fpdm, plain_stack
from bench.profiling.timing import seconds_of
from bench.profiling.training_step import make_training_step
from bench.spec.measurements import Speed
from bench.system.dtypes import PRECISIONS, autocast
from bench.system.progress import interval_s
from models.cost import forward_passes
from models.diffusion.allocation import affordable_steps
from models.diffusion.sampling import SampleNoise, make_schedule, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS, select_timesteps
from models.fixed_point.unroll import Unroll
from models.networks.blocks import DiTBlock
from models.networks.compiled import compile_regions
from models.networks.dit import DiT
from models.networks.fpdm import FPDM
from models.networks.linear import token_linear
from models.zoo import build

ROUNDS = 5
LEAST_S = 0.2  # a part is repeated until a measurement takes this long
PRICED_STEPS = 5  # of the run that a step's price is taken from: a DiT's at 140 block passes
RATE_SIDE = 2048  # of the matrices whose product gives the device's rate


@dataclass(frozen=True)
class Part:
    """Something to be timed.

    Attributes:
        call: does it.
        units: how many of it a call does.
        contexts: what calls run in; entered on the clock, once for all repeats.
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
        """The same where nothing is compiled, whatever was."""
        return replace(self, contexts=(*self.contexts, lambda: torch.compiler.set_stance("force_eager")))


def measure_speed(cell: Speed, device: torch.device) -> dict[str, Any]:
    """All of a speed cell: `metrics` are medians, `series` the seconds of every round by part, for one batch.

    Parts of the twins, each once "eager" and once "compiled" where a cell compares the two:
        block, bare block: an explicit block with its modulation and without.
        iteration, binding: of the implicit layer; the binding is what it pays once a step.
        dit step, fpdm step: a sampling step, scheduler included; FPDM's without any iteration.
        dit training step, fpdm training step: forward to EMA; FPDM's is the mean over the draws of stochastic JFB.
    And beside them, where nothing is compiled:
        stack, plain stack: all blocks of a DiT, and the same arithmetic as a plain sequence of timm's modules.
        product: a large matrix product, for the rate that nothing can exceed.
        dit BUDGET, fpdm BUDGET k=K: a whole sampling run.
    """
    twins = Twins(cell, device)
    metrics: dict[str, float] = {}
    if cell.compiled:
        both = twins.parts()  # once: training steps keep their moments
        started = time.perf_counter()
        for part in both.values():
            part.repeat(1)
        metrics["compile_s"] = time.perf_counter() - started
        parts = {f"compiled {name}": part for name, part in both.items()}
        parts |= {f"eager {name}": part.eagerly() for name, part in both.items()}
    else:
        parts = twins.parts() | twins.stacks() | twins.runs()
    series = in_rounds(parts, device, str(cell))
    metrics |= {f"{name.replace(' ', '_').replace('=', '')}_s": statistics.median(s) for name, s in series.items()}
    if "product" in series:
        metrics["macs_per_s"] = RATE_SIDE**3 / min(series["product"])
    timing = {"threads": torch.get_num_threads(), "workers": 1}
    return {"metrics": metrics, "series": {"seconds": series}, "timing": timing}


def in_rounds(parts: dict[str, Part], device: torch.device, what: str, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each part's unit in each round, after a call that is not counted and one that finds the repeats."""
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
    """How many calls take as long as a measurement should, and the seconds of one, after a call that is not counted."""
    first_s = seconds_of(lambda: part.repeat(1), device)
    short = first_s < 20 * LEAST_S  # else it need not be repeated, however slow a first call is
    second_s = seconds_of(lambda: part.repeat(1), device) if short else first_s
    return max(1, round(LEAST_S / second_s)), second_s


class Twins:
    """The twins of a cell with random weights, compiled if the cell says so, and what is measured of them."""

    def __init__(self, cell: Speed, device: torch.device) -> None:
        self._cell, self._device = cell, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            dit, fpdm = build(cell.dit), build(cell.fpdm)
            self._tokens = torch.randn(cell.batch_size, cell.dit.tokens, cell.dit.hidden_size).to(device)
            self._condition = torch.randn(cell.batch_size, cell.dit.hidden_size).to(device)
        assert isinstance(dit, DiT)
        assert isinstance(fpdm, FPDM)
        self._dit, self._fpdm = dit.to(device).eval(), fpdm.to(device).eval()
        if cell.compiled:
            compile_regions(dit)
            compile_regions(fpdm)

    def parts(self) -> dict[str, Part]:
        """Blocks, iterations, steps."""
        block, implicit = self._dit.blocks[0], self._fpdm.implicit
        assert isinstance(block, DiTBlock)
        x, condition = self._tokens, self._condition
        with self._autocast(), torch.inference_mode():
            f, modulation = implicit.bind(x, condition), block.modulation(condition)
        return {
            "block": self._inferred(lambda: block(x, block.modulation(condition))),
            "bare block": self._inferred(lambda: block(x, modulation)),
            "iteration": self._inferred(lambda: f(x)),
            "binding": self._inferred(lambda: implicit.bind(x, condition)),
            "dit step": replace(self._run(self._dit, PRICED_STEPS, 1), units=PRICED_STEPS),
            "fpdm step": replace(self._run(self._fpdm, PRICED_STEPS, 0), units=PRICED_STEPS),
            "dit training step": self._training(self._dit),
            "fpdm training step": self._training(self._fpdm),
        }

    def stacks(self) -> dict[str, Part]:
        """The blocks of the DiT, as they are here and plainly; the product."""
        plain, dtype = plain_stack(self._dit), PRECISIONS[self._cell.precision] or torch.float32
        side = torch.randn(1, RATE_SIDE, RATE_SIDE, device=self._device).to(dtype)  # autocast has nothing to cast then
        x, condition = self._tokens, self._condition
        return {
            "stack": self._inferred(lambda: self._dit.blocks(x, condition)),
            "plain stack": self._inferred(lambda: plain(x, condition)),
            "product": self._inferred(lambda: token_linear(side, side[0])),
        }

    def plain_parts(self) -> dict[str, Part]:
        """The iteration and the training step of an FPDM that is written plainly."""
        fpdm = plain_fpdm(self._cell.fpdm).to(self._device).eval()
        f = fpdm.implicit.bind(self._tokens, self._condition)
        return {
            "plain iteration": self._inferred(lambda: f(self._tokens)),
            "plain fpdm training step": self._training(fpdm),
        }

    def runs(self) -> dict[str, Part]:
        """Whole sampling runs, at every budget and number of iterations."""
        parts = {}
        for budget in self._cell.budgets:
            parts[f"dit {budget}"] = self._run(self._dit, affordable_steps(budget, self._cell.dit.depth), 1)
            for k in self._cell.iterations:
                steps = affordable_steps(budget, forward_passes(self._cell.fpdm, k))
                parts[f"fpdm {budget} k={k}"] = self._run(self._fpdm, steps, k)
        return parts

    def _autocast(self) -> AbstractContextManager:
        return autocast(self._device, self._cell.precision)

    def _inferred(self, call: Callable[[], object]) -> Part:
        return Part(call, contexts=(torch.inference_mode, self._autocast))

    def _run(self, model: DiT | FPDM, steps: int, iterations: int) -> Part:
        cell, config = self._cell, self._cell.dit
        shape = (config.in_channels, config.input_size, config.input_size)
        schedule = make_schedule(select_timesteps(steps, "linspace", TIMESTEPS), [iterations] * steps)
        labels = torch.zeros(cell.batch_size, dtype=torch.int64, device=self._device)
        noise_schedule = linear_schedule(TIMESTEPS)

        def run() -> None:
            noise = SampleNoise(0, range(cell.batch_size), shape, self._device)
            sample(model, noise_schedule, schedule, labels, noise)

        return Part(run, contexts=(self._autocast,))

    def _training(self, model: DiT | FPDM) -> Part:
        """Steps at the corners of stochastic JFB's draws, whose mean is the mean over all: a step is linear in n, m."""
        cell = self._cell
        config = cell.dit if isinstance(model, DiT) else cell.fpdm
        step = make_training_step(model, config, cell.batch_size, cell.precision, self._device)
        n, m = cell.n_max, cell.m_max
        corners = [Unroll(n_, m_) for n_ in (0, n) for m_ in (1, m)] if config.implicit else [Unroll(0, 1)]

        def steps() -> None:
            for unroll in corners:
                step(unroll)

        return Part(steps, units=len(corners))
