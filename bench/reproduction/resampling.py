"""Cells evaluated again under the conditions of their records, in a folder of their own: kept results are only read."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from bench.evaluation.progress_bar import CellsBar
from bench.evaluation.workers import evaluate_all
from bench.machine.compiler import why_not_compile
from bench.machine.devices import pick_device, usable_cores
from bench.machine.execution import Execution
from bench.sampling.setting import Setting
from bench.spec.arguments import Places
from bench.spec.cells import Cell, TrainingRun
from bench.store.own_images import images_file
from bench.store.records import Record, Store
from bench.store.references import reference_path
from bench.system.errors import BadInputError
from bench.system.files import sha256_of
from models.pretrained import CONFIG, WEIGHTS


def lend(kept: Store, into: Store, runs: Iterable[TrainingRun]) -> None:
    """Copy what evaluations read of kept results: weights and summaries of these runs, what reference and images are.

    Raises:
        BadInputError: another file is there already.
    """
    paths = [path for run in runs for path in (*_network(kept, run), kept.training_path(run))]
    paths += [path for path in (reference_path(kept.root), images_file(kept.root.parent)) if path.is_file()]
    for path in dict.fromkeys(paths):
        target = into.root.parent / path.relative_to(kept.root.parent)
        if target.exists() and sha256_of(target) != sha256_of(path):
            raise BadInputError(f"--out {into.root.parent}: {target} is not a copy of {path}; name another folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _network(kept: Store, run: TrainingRun) -> list[Path]:
    return [kept.weights_folder(run) / name for name in (WEIGHTS, CONFIG)]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch has so many threads: sums of other numbers of threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_like(environment: Mapping[str, Any]) -> torch.device:
    """A GPU where one was used and one is here, else the CPU."""
    return pick_device("auto" if environment.get("device") == "cuda" else "cpu")


def evaluate_like(pairs: Sequence[tuple[Cell, Record]], store: Store, places: Places) -> dict[str, Record]:
    """Evaluate each cell as the record beside it was made: with its kind of device and its threads, compiled or not.

    Args:
        pairs: cells and kept records, which need not be of these cells.
        store: has the weights, and receives the records.
        places: where datasets are.

    Returns:
        The records, by key.

    Raises:
        BadInputError: weights, or another input, are missing or damaged.
    """

    def conditions(pair: tuple[Cell, Record]) -> tuple[str, int, bool]:
        environment = pair[1].environment
        compiled = "compiled" in (environment.get("execution") or "")
        return str(device_like(environment)), int(environment["threads"]), compiled

    found: dict[str, Record] = {}
    with CellsBar([cell for cell, _ in pairs], store) as bar:
        for (name, threads, compiled), group in groupby(sorted(pairs, key=conditions), conditions):
            cells, device = [cell for cell, _ in group], torch.device(name)
            workers = max(1, min(len(cells), usable_cores() // threads)) if device.type == "cpu" else 1
            execution = Execution(compiled and not why_not_compile(device))
            setting = Setting(store, device, workers, execution, places)
            with torch_threads(threads):
                for record in evaluate_all(cells, setting, threads=threads):
                    found[record.key] = record
                    bar.ended(record)
    return found
