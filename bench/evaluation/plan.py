"""Plan of a grid: the missing runs and cells, with estimated times."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.evaluation.cluster_estimate import assumed_gpu_macs_per_s, cluster_estimate
from bench.spec.cells import Cell, TrainingRun
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.training.runs import training_seconds

ASSUMED_MACS_PER_S = 25e9  # one worker at digits size on an AMD EPYC core; used where no record has a rate


@dataclass(frozen=True)
class Capacity:
    """What an executor does at the same time.

    Attributes:
        count: cells in parallel.
        gpu: whether on GPUs.
        gpu_gib: memory of a GPU in GiB, if known.
        trainings: runs that train side by side.
        hardware: name of the machine that trains, if it is this one.
    """

    count: int
    gpu: bool = False
    gpu_gib: float | None = None
    trainings: int = 1
    hardware: str = ""


def needed_runs(cells: Iterable[AnyCell]) -> list[TrainingRun]:
    """The training runs that cells take their weights from, each once."""
    return list(dict.fromkeys(cell.run for cell in cells if cell.run is not None))


def untrained(store: Store, runs: Iterable[TrainingRun]) -> list[TrainingRun]:
    """The runs whose training has not ended, or whose weights are not here."""
    return [run for run in runs if store.read_training(run) is None or not store.has_weights(run)]


def check_dtypes(cells: Iterable[AnyCell], computed: Sequence[str], where: str) -> None:
    """BadInputError, before any training, if cells are sampled in a dtype that is not among those computed `where`."""
    for cell in cells:
        if isinstance(cell, Cell) and (dtype := cell.protocol.dtype) not in computed:
            instead = "fp16" if "fp16" in computed else "fp32"
            raise BadInputError(
                f"{cell.run.suite} is sampled in {dtype}, which {where} does not compute in: sample, and draw, with "
                f"--dtype {instead}"
            )


def measured_macs_per_s(store: Store, cells: Iterable[AnyCell]) -> float | None:
    """Median MACs per second of one worker, over the existing records; None without any."""
    rates = []
    for cell in cells:
        record = store.read(cell)
        if record is not None and record.status == "done" and record.timing.get("total_s"):
            rates.append(cell.work / record.timing["total_s"])
    return statistics.median(rates) if rates else None


def steps_per_s(store: Store, run: TrainingRun, hardware: str) -> float | None:
    """Training steps a second of this contender in kept trainings on this hardware; None without any."""
    rates = []
    for path in store.root.glob("training/*.json"):
        try:
            summary = json.loads(path.read_text())
            known, where = summary["run"], summary["environment"]["hardware"]
            same = (known["config"], known["recipe"]["batch_size"]) == (run.config.identity(), run.recipe.batch_size)
            if same and where == hardware and summary["elapsed_s"]:
                rates.append(summary["step"] / summary["elapsed_s"])
        except (ValueError, KeyError, TypeError, OSError):
            continue  # a plan does without it
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
    runs = [run for run in untrained(store, needed_runs(todo)) if not run.elsewhere]
    trainings = min(capacity.trainings, max(1, len(runs)))
    training_s, unknown = training_seconds(run for run in runs if run.steps is None) / trainings, 0
    for run in runs:
        expected = ""
        if run.steps is not None:
            rate = steps_per_s(store, run, capacity.hardware)
            expected = f", about {duration(run.steps / rate)}" if rate else ", time unknown"
            training_s += run.steps / rate / trainings if rate else 0.0
            unknown += not rate
        lines.append(f"train     {run.description}: {run.budget_text}{expected}  [{run.name}]")
    training = duration(training_s) if training_s or not unknown else ""
    training = " and ".join(filter(None, (training, f"an unknown time for {unknown} of them" if unknown else "")))
    measured = measured_macs_per_s(store, cells)
    rate = measured or (assumed_gpu_macs_per_s() if capacity.gpu else ASSUMED_MACS_PER_S)
    for cell in todo:
        seconds = cell.work / rate
        evaluation_s += seconds / capacity.count
        expected = "some minutes" if cell.alone else duration(seconds)
        lines.append(f"evaluate  {cell}: {expected}  [{cell.key}]")
    source = "as the records here" if measured else f"assumed of a {'V100' if capacity.gpu else 'core'}"
    lines.append(
        f"{len(runs)} runs to train, {training}; {len(todo)} of {len(cells)} cells to evaluate, about "
        f"{duration(evaluation_s)} with {capacity.count} worker(s) at {rate / 1e9:,.0f} GMAC/s each ({source}); in all "
        f"{'more than' if unknown else 'about'} {duration(training_s + evaluation_s)}"
    )
    return lines if suite.gpus == 1 else [*lines, *cluster_estimate(suite, store, runs, todo, rate, capacity.gpu_gib)]
