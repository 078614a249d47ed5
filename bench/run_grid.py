"""Evaluate a grid of equal-compute cells: python bench/run_grid.py --grid smoothing"""

import csv
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from bench.evaluation.executors import EXECUTORS, Executor, Work, executor
from bench.evaluation.plan import needed_runs, plan, untrained
from bench.spec.arguments import Places, Results, Running, Training, Which, flags, one_of, only, selection_of, suite_of
from bench.spec.datasets import get_dataset
from bench.spec.grids.catalogue import get_cells, grid_names
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell, Floor
from bench.spec.selection import Selection
from bench.store.prices import needs_prices, resolved
from bench.store.records import Store, missing
from bench.store.references import reference_path
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class GridCells(Which):
    """Which cells, and what to do with them."""

    grid: Annotated[str, tyro.conf.arg(help=f"Which experiment: {one_of(*grid_names())}.")] = "smoothing"
    only: tuple[str, ...] = ()
    """Keys of cells, or first characters of keys: evaluate only these cells of the grid."""
    list_cells: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print the grid's cells as CSV and stop."""
    plan: bool = False
    """Print the runs and cells that are missing, with estimated times, and stop."""


@dataclass(frozen=True)
class GridTraining(Training):
    """How contenders are trained, and whether kept records are replaced."""

    retrain: bool = False
    """Train a run again if its records exist but its weights are gone. Its records are replaced."""


@dataclass(frozen=True)
class GridRunning(Running):
    """Where and how networks run, and how many in parallel."""

    workers: int | None = None
    """Processes that evaluate cells in parallel; by default one per core on a CPU, up to 8, and one on a GPU."""
    executor: Annotated[
        str,
        tyro.conf.arg(help=f"{one_of(*EXECUTORS).capitalize()}: on this machine, or as jobs of a cluster."),
    ] = "local"
    profile: str = "v100"
    """For slurm: the name of a profile in slurm/profiles, or the path of your own."""
    wait: bool = False
    """For slurm: stay, show progress, and draw tables and figures at the end."""


@dataclass(frozen=True)
class Arguments:
    """Evaluate a grid: train what is missing for equal seconds, then sample and measure every cell without a record.

    Run it again to go on where it stopped; cells that are done are not evaluated again.
    """

    what: Group[GridCells] = GridCells()
    """Grid, suite and contenders."""
    training: Group[GridTraining] = GridTraining()
    """Training of the contenders."""
    running: Group[GridRunning] = GridRunning()
    """Devices, processes and execution."""
    places: Group[Places] = Places()
    """Folders and files."""

    def check(self) -> None:
        """BadInputError for invalid values, whatever the machine."""
        running = self.running
        if running.workers is not None and running.workers < 1:
            raise BadInputError(f"--workers {running.workers}: must be 1 or more")
        if running.executor not in EXECUTORS:
            raise BadInputError(f"--executor {running.executor}: choose {one_of(*EXECUTORS)}")
        looking = self.what.list_cells or self.what.plan
        if running.compile and self.what.account == "seconds" and not looking:
            raise BadInputError("--account seconds --compile: steps are priced as they run uncompiled; leave one out")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    arguments.check()
    cells, running = arguments.what, arguments.running
    suite = suite_of(cells, arguments.training)
    store = Store(arguments.places.results, suite.name)
    grid = GRIDS.get(cells.grid)
    work = Work(
        suite,
        store,
        only(Running, running),  # the class itself, since jobs unpickle it
        arguments.places,
        running.workers,
        running.profile,
        running.wait,
        bool(grid and grid.gpu),
    )
    selection = resolved(selection_of(cells, arguments.training), store, suite)
    if cells.list_cells:
        _list(cells, _choose(cells, get_cells(cells.grid, suite, selection)))
        return 0
    place = executor(running.executor, work)  # loads torch
    if not cells.plan:
        place.check()
        if selection.prices is None and needs_prices(selection, cells.grid, suite):
            selection = _calibrated(arguments, work, place, selection)
    found = _choose(cells, get_cells(cells.grid, suite, selection))
    todo = missing(store, found)
    if cells.plan:
        print("\n".join(plan(suite, store, found, todo, place.capacity())))
        if selection.prices is None and needs_prices(selection, cells.grid, suite):
            print("seconds are not calibrated: cells whose steps depend on them come on top")
        if get_dataset(suite.dataset).is_latent and selection.reference is None:
            print("there is no reference yet (bench/reference.py): the keys of the cells change when there is one")
        return 0
    store.check_writable()
    failed: int | None = 0
    if todo:
        _check_data(work, selection, todo)
        if not arguments.training.retrain:
            _refuse_to_outdate(store, todo)
        if not place.queues:
            from bench.evaluation.calibration import check_hardware

            check_hardware(todo, suite, selection.prices, running.device)
        failed = place.run(found)
    else:
        print(f"all {len(found)} cells of {cells.grid} have records: nothing to evaluate")
    if failed is None:
        return 0
    return _draw(arguments) or (1 if failed else 0)


def _calibrated(arguments: Arguments, work: Work, place: Executor, selection: Selection) -> Selection:
    """The selection with prices, measured now; BadInputError if the executor queues."""
    from bench.evaluation.calibration import calibrate, summary
    from bench.evaluation.local import Local

    if place.queues:
        if selection.account != "seconds":
            return selection
        raise BadInputError("--account seconds: not calibrated on the cluster yet; run --grid throughput on it first")
    get_cells(arguments.what.grid, work.suite, replace(selection, account="macs"))  # report bad input first
    work.store.check_writable()
    prices = calibrate(work.suite, Local(replace(work, running=Running(device=work.running.device))).setting())
    print(summary(prices, work.suite))
    return replace(selection, prices=prices)


def _choose(arguments: GridCells, cells: Sequence[AnyCell]) -> list[AnyCell]:
    for start in arguments.only:
        if not any(cell.key.startswith(start) for cell in cells):
            raise BadInputError(f"--only {start}: no cell of grid {arguments.grid} has such a key (--list shows them)")
    return [cell for cell in cells if not arguments.only or cell.key.startswith(arguments.only)]


def _list(arguments: GridCells, cells: Sequence[AnyCell]) -> None:
    rows = [{"grid": arguments.grid, **cell.row()} for cell in cells]
    writer = csv.DictWriter(sys.stdout, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _check_data(work: Work, selection: Selection, todo: Sequence[AnyCell]) -> None:
    """BadInputError, before any work or queueing, if a dataset, latents or reference statistics are missing."""
    from bench.data.pixels import load_dataset, load_held_out
    from bench.data.sources import check_training_data

    suite, places = work.suite, work.places
    runs = untrained(work.store, needed_runs(todo))
    judged = any(cell.measure == "quality" for cell in todo)
    check_training_data(runs, places)
    if not get_dataset(suite.dataset).is_latent and (runs or judged):
        load_dataset(suite.dataset, places.data)
    if any(isinstance(cell, Floor) for cell in todo):
        load_held_out(suite.dataset, places.data)
    if judged and get_dataset(suite.dataset).is_latent and selection.reference is None:
        raise BadInputError(
            f"--suite {suite.name}: {reference_path(work.store.root)} is not there, which names its reference; make it "
            f"with bench/reference.py --suite {suite.name} --data DIR"
        )


def _refuse_to_outdate(store: Store, todo: Sequence[AnyCell]) -> None:
    """BadInputError if a run with kept records would be trained again: other weights make these records stale."""
    for training in needed_runs(todo):
        if store.read_training(training) is not None and not store.has_weights(training):
            raise BadInputError(
                f"{training.name}: its records are in {store.root}, its weights are not; choose another --results, or "
                "--retrain to train again and replace them"
            )


def _draw(arguments: Arguments) -> int:
    """Redraw tables and figures in another process: `bench` does not import `paper_figures`."""
    cells, training = arguments.what, arguments.training
    which, kept = only(Which, cells), only(Training, training)
    chosen = flags(which, kept, Results(arguments.places.results))
    command = [sys.executable, "-m", "paper_figures.make_all", "--grid", cells.grid, "--print-table", *chosen]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
