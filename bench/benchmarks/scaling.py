"""Images and training steps a second by batch, threads and worker processes: python -m bench.benchmarks.scaling

The networks of `digits` with random weights on a CPU, run as the commands run them by default: sampling eager, training
compiled. Processes that work side by side start each measurement together; their rates are added.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd
import torch
from tqdm import tqdm

from bench.benchmarks.kept import keep
from bench.machine.compiler import WORTHWHILE_S, settled
from bench.machine.devices import usable_cores
from bench.machine.execution import Execution
from bench.machine.provenance import describe
from bench.profiling.noise import training_step
from bench.spec.suites import get_suite
from bench.system.children import end_with_parent
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.malloc import keep_freed_memory
from bench.system.progress import interval_s
from models.diffusion.allocation import affordable_steps
from models.diffusion.sampling import SampleNoise, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS, make_schedule, select_timesteps
from models.families import build, family_of, forward_passes
from models.fixed_point.unroll import Unroll

CPU = torch.device("cpu")
WORKS = ("sampling", "training")
BUDGET, ITERATIONS, UNROLL = 140, 8, Unroll(3, 4)
LEAST_S = 1.0  # a measurement repeats its call for so long


@dataclass(frozen=True)
class Arguments:
    """Time sampling runs and training steps of DiT and FPDM at several batches, on one core and on all."""

    batches: tuple[int, ...] = (1, 4, 16, 64, 128, 256, 512)
    """Images of a batch."""
    rounds: int = 3
    """How often everything is timed."""
    results: Path = Path("results")
    """Results folder; scaling.json and scaling.md are written to its folder performance."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    if not arguments.batches or min(arguments.batches) < 1:
        raise BadInputError(f"--batches {' '.join(map(str, arguments.batches))}: give sizes of 1 or more")
    if arguments.rounds < 1:
        raise BadInputError(f"--rounds {arguments.rounds}: must be 1 or more")
    rows = _measure(arguments.batches, arguments.rounds)
    found = {"environment": describe(CPU), "measured": rows}
    print(keep(arguments.results, "scaling", found, table(rows)), end="")
    return 0


def _measure(batches: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """An entry for each network, work, number of workers and threads, and batch, with the rates of all rounds."""
    cores = usable_cores()
    ways = sorted({(1, 1), (1, cores), (cores, 1)})  # workers, threads of each
    works = list(product(("dit", "fpdm"), WORKS, batches))
    rates: dict[tuple[Any, ...], list[float]] = {(*way, *work): [] for way in ways for work in works}
    with ExitStack() as stack, tqdm(total=rounds * len(rates), desc="timing", mininterval=interval_s()) as bar:
        pools = {way: stack.enter_context(_processes(*way)) for way in ways}
        for _ in range(rounds):
            for way, work in product(ways, works):
                workers, _ = way
                futures = [pools[way].submit(_rate, *work) for _ in range(workers)]
                rates[*way, *work].append(sum(future.result() for future in futures))
                bar.update()
    names = ("workers", "threads", "network", "work", "batch")
    return [dict(zip(names, key, strict=True)) | {"per_s": found} for key, found in rates.items()]


@contextmanager
def _processes(workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    arguments = (context.Barrier(workers), threads)
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=arguments) as pool:
        yield pool


_together: Barrier | None = None


def _start(together: Barrier, threads: int) -> None:
    global _together
    end_with_parent()
    keep_freed_memory()
    torch.set_num_threads(threads)
    _together = together


def _rate(network: str, work: str, batch: int) -> float:
    """Calls a second: sampling runs or training steps. All processes of the pool must call it at once."""
    assert _together is not None
    call = _call(network, work, batch)
    _together.wait()  # each process takes one of the orders, and none starts before the others are warm
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < LEAST_S:
        call()
        count += 1
    return count / passed


@cache
def _call(name: str, work: str, batch: int) -> Callable[[], object]:
    """A sampling run or a training step, warm."""
    config = get_suite("digits").contender(name).config
    network = build(config)
    if work == "training":
        step = training_step(
            network.train(), config, batch, "fp32", CPU, settled(Execution(compiled=None), CPU, WORTHWHILE_S)
        )
        step.warm_up()
        return lambda: step.take(1, UNROLL)
    network.eval()
    iterations = ITERATIONS if family_of(config).iterates else 0
    steps = affordable_steps(BUDGET, forward_passes(config, iterations))
    schedule = make_schedule(select_timesteps(steps, "linspace", TIMESTEPS), [iterations] * steps)
    noise_schedule, labels = linear_schedule(TIMESTEPS), torch.zeros(batch, dtype=torch.int64)
    noise = SampleNoise(0, range(batch), (config.in_channels, config.input_size, config.input_size), CPU)

    def sampling() -> None:
        sample(network, noise_schedule, schedule, labels, noise)

    sampling()
    return sampling


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Images/s and steps/s, a column for each number of workers and threads."""
    found: dict[tuple[str, str, int], dict[str, str]] = {}
    for row in rows:
        sampling = row["work"] == "sampling"
        rates = [rate * (row["batch"] if sampling else 1) for rate in row["per_s"]]
        text = f"{median(rates):.3g} ({min(rates):.3g} to {max(rates):.3g})"
        column = f"workers {row['workers']}, threads {row['threads']}"
        found.setdefault((row["work"], row["network"], row["batch"]), {})[column] = text
    units = {"sampling": "images/s", "training": "steps/s"}
    return pd.DataFrame(
        {"network": network, "batch": batch, "rate": f"{work}, {units[work]}", **columns}
        for (work, network, batch), columns in sorted(found.items())
    )


if __name__ == "__main__":
    sys.exit(run(main))
