"""Plan of a grid: the missing runs and cells, with estimated times."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.evaluation.cluster_estimate import assumed_gpu_macs_per_s, cluster_estimate
from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.store.records import Store
from bench.training.chains import training_seconds

ASSUMED_MACS_PER_S = 25e9  # one worker at digits size on an AMD EPYC core; used where no record has a rate


@dataclass(frozen=True)
class Capacity:
    """How many cells are evaluated in parallel, whether on GPUs, and the memory of a GPU in GiB, if known."""

    count: int
    gpu: bool = False
    gpu_gib: float | None = None


def needed_runs(cells: Iterable[AnyCell]) -> list[TrainingRun]:
    """The training runs that cells take their weights from, each once."""
    return list(dict.fromkeys(cell.run for cell in cells if cell.run is not None))


def untrained(store: Store, runs: Iterable[TrainingRun]) -> list[TrainingRun]:
    """The runs whose training has not ended, or whose weights are not here."""
    return [run for run in runs if store.read_training(run) is None or not store.has_weights(run)]


def measured_macs_per_s(store: Store, cells: Iterable[AnyCell]) -> float | None:
    """Median MACs per second of one worker, over the existing records; None without any."""
    rates = []
    for cell in cells:
        record = store.read(cell)
        if record is not None and record.status == "done" and record.timing.get("total_s"):
            rates.append(cell.work / record.timing["total_s"])
    return statistics.median(rates) if rates else None


def duration(seconds: float) -> str:
    """`7 min`, or `45 s` below two minutes, or `3.5 h` from two hours on."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def plan(
    suite: Suite,
    store: Store,
    cells: Sequence[AnyCell],
    todo: Sequence[AnyCell],
    capacity: Capacity,
) -> list[str]:
    """Lines to print: the missing runs and cells, each with its estimated time, and the sum.

    Args:
        suite: the suite of the cells.
        store: its results.
        cells: the whole grid.
        todo: the cells without a record.
        capacity: capacity of the executor.
    """
    lines, evaluation_s = [], 0.0
    runs = untrained(store, needed_runs(todo))
    training_s = training_seconds(runs)
    for run in runs:
        unknown = "" if run.steps is None else ", time unknown"
        lines.append(f"train     {run.description}: {run.budget_text}{unknown}  [{run.name}]")
    measured = measured_macs_per_s(store, cells)
    rate = measured or (assumed_gpu_macs_per_s() if capacity.gpu else ASSUMED_MACS_PER_S)
    for cell in todo:
        seconds = cell.work / rate
        evaluation_s += seconds / capacity.count
        expected = "some minutes" if cell.alone else duration(seconds)
        lines.append(f"evaluate  {cell}: {expected}  [{cell.key}]")
    source = "as the records here" if measured else f"assumed of a {'V100' if capacity.gpu else 'core'}"
    lines.append(
        f"{len(runs)} runs to train, {duration(training_s)}; {len(todo)} of {len(cells)} cells to evaluate, about "
        f"{duration(evaluation_s)} with {capacity.count} worker(s) at {rate / 1e9:,.0f} GMAC/s each ({source}); in all "
        f"about {duration(training_s + evaluation_s)}"
    )
    return lines if suite.gpus == 1 else [*lines, *cluster_estimate(suite, store, runs, todo, rate, capacity.gpu_gib)]
