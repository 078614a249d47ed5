"""Evaluate a grid of equal-compute cells: python bench/run_grid.py --grid smoothing"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from bench.evaluation.checks import check_data, forget_batches, refuse_to_outdate
from bench.evaluation.executors import EXECUTORS, Executor, Work, executor
from bench.evaluation.plan import check_dtypes, needed_runs, plan
from bench.prepare.own_images import Own, check_floor, describe, opened
from bench.spec.arguments import Places, Results, Running, Training, Which, flags, one_of, only, selection_of, suite_of
from bench.spec.contenders import Suite
from bench.spec.datasets import OWN, get_dataset
from bench.spec.grids.catalogue import cells_of, grid_names
from bench.spec.grids.membership import memberships
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection
from bench.store.own_images import write_own
from bench.store.prices import needs_prices, resolved
from bench.store.records import Store, missing
from bench.store.second import check_second, second_in_plan, with_second
from bench.store.table import write_rows
from bench.store.weights import first_replicate, keep_weights
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class GridCells(Which):
    """Which cells, and what to do with them."""

    grid: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Which experiments: some of {', '.join(grid_names())}.")] = (
        "smoothing",
    )
    only: tuple[str, ...] = ()
    """Keys of cells, or first characters of keys: evaluate only these cells of the grid."""
    list_cells: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print the grid's cells as CSV, with what was measured of them, and stop."""
    plan: bool = False
    """Print the runs and cells that are missing, with estimated times, and stop."""


@dataclass(frozen=True)
class GridTraining(Training):
    """How contenders are trained, whether kept records are replaced, and whether weights are kept."""

    retrain: bool = False
    """Train a run again if its records exist but its weights are gone. Its records are replaced."""
    keep_weights: bool = False
    """At the end, copy the averaged weights of each contender's first replicate to the suite's folder weights/, with a
    model card."""


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
    own: Group[Own] = Own()
    """Your own images (--suite folder)."""

    def check(self) -> None:
        """BadInputError for invalid values, whatever the machine."""
        running = self.running
        if running.workers is not None and running.workers < 1:
            raise BadInputError(f"--workers {running.workers}: must be 1 or more")
        if running.executor not in EXECUTORS:
            raise BadInputError(f"--executor {running.executor}: choose {one_of(*EXECUTORS)}")
        if running.executor != "local" and running.side_by_side > 1:
            raise BadInputError(f"--executor {running.executor} --side-by-side {running.side_by_side}: leave one out")
        looking = self.what.list_cells or self.what.plan
        if running.compile == "on" and self.what.account == "seconds" and not looking:
            raise BadInputError(
                "--account seconds --compile on: steps are priced as they run uncompiled; leave one out"
            )


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv, first="--grid")
    arguments.check()
    cells, running = arguments.what, arguments.running
    own = opened(arguments.own, cells, arguments.training, running, arguments.places)
    suite = suite_of(cells, arguments.training, own)
    store = Store(arguments.places.results, suite.name)
    work = Work(
        suite,
        store,
        only(Running, running),  # the class itself, since jobs unpickle it
        arguments.places,
        running.workers,
        running.profile,
        running.wait,
        any(name in GRIDS and GRIDS[name].gpu for name in cells.grid),
    )
    selection = resolved(selection_of(cells, arguments.training), store, suite)
    weights = arguments.places.dinov2_weights
    selection = with_second(selection, suite, store.root) if weights else selection
    check_floor(suite, selection, arguments.places)
    if cells.list_cells:
        chosen = _choose(cells, cells_of(cells.grid, suite, selection))
        write_rows(sys.stdout, chosen, store, memberships(suite, selection))
        return 0
    place = executor(running.executor, work)  # loads torch
    if not cells.plan:
        place.check()
        if selection.prices is None and _needs_prices(cells, selection, suite):
            selection = _calibrated(arguments, work, place, selection)
    found = _choose(cells, cells_of(cells.grid, suite, selection))
    todo = missing(store, found)
    if cells.plan:
        print("\n".join(plan(suite, store, found, todo, place.capacity())))
        if selection.prices is None and _needs_prices(cells, selection, suite):
            print("seconds are not calibrated: cells whose steps depend on them come on top")
        judged = any(cell.measure == "quality" for cell in found)
        if judged and (line := second_in_plan(selection, suite, store.root, weights)):
            print(line)
        if get_dataset(suite.dataset).is_latent and selection.reference is None:
            print("there is no reference yet (bench/reference.py): the keys of the cells change when there is one")
        return 0
    check_second(selection, suite, store.root, weights)
    store.check_writable()
    forget_batches(store, found, todo)
    _put_elsewhere(arguments, store, todo)
    failed: int | None = 0
    if todo:
        check_data(work, selection, todo)
        if own is not None:
            print(describe(own))
            write_own(arguments.places.results, own)
        if not arguments.training.retrain:
            refuse_to_outdate(store, todo)
        if not place.queues:
            from bench.evaluation.calibration import check_hardware
            from bench.machine.devices import hardware_name, pick_device, supported_dtypes

            check_hardware(todo, suite, selection.prices, running.device)
            if (device := pick_device(running.device)).type == "cuda":  # a CPU computes in all, if slowly
                check_dtypes(todo, supported_dtypes(device), hardware_name(device))
        failed = place.run(found)
    else:
        print(f"all {len(found)} cells of {', '.join(cells.grid)} have records: nothing to evaluate")
    if failed is None:
        return 0
    if arguments.training.keep_weights:
        for line in keep_weights(store, first_replicate(store, suite, selection)):
            print(line)
    return _draw(arguments) or (1 if failed else 0)


def _needs_prices(arguments: GridCells, selection: Selection, suite: Suite) -> bool:
    return any(needs_prices(selection, grid, suite) for grid in arguments.grid)


def _put_elsewhere(arguments: Arguments, store: Store, cells: Sequence[AnyCell]) -> None:
    """Put the weights of --weights where cells look for them."""
    path = arguments.training.weights
    for training in needed_runs(cells):
        if training.elsewhere and path is not None:
            from bench.sampling.elsewhere import put

            put(training, path, store)


def _calibrated(arguments: Arguments, work: Work, place: Executor, selection: Selection) -> Selection:
    """The selection with prices, measured now; BadInputError if the executor queues."""
    from bench.evaluation.calibration import calibrate, summary
    from bench.evaluation.local import Local

    if place.queues:
        if selection.account != "seconds":
            return selection
        raise BadInputError("--account seconds: not calibrated on the cluster yet; run --grid throughput on it first")
    unpriced = replace(selection, account="macs") if selection.account == "seconds" else selection
    cells_of(arguments.what.grid, work.suite, unpriced)  # report bad input first
    work.store.check_writable()
    prices = calibrate(work.suite, Local(replace(work, running=Running(device=work.running.device))).setting())
    print(summary(prices, work.suite))
    return replace(selection, prices=prices)


def _choose(arguments: GridCells, cells: Sequence[AnyCell]) -> list[AnyCell]:
    for start in arguments.only:
        if not any(cell.key.startswith(start) for cell in cells):
            grids = " ".join(arguments.grid)
            raise BadInputError(f"--only {start}: no cell of grid {grids} has such a key (--list shows them)")
    return [cell for cell in cells if not arguments.only or cell.key.startswith(arguments.only)]


def _draw(arguments: Arguments) -> int:
    """Redraw tables and figures in another process: `bench` does not import `paper_figures`."""
    cells, training = arguments.what, arguments.training
    which, kept = only(Which, cells), only(Training, training)
    kept = replace(kept, classes=None) if which.suite == OWN else kept  # the results say which
    chosen = flags(which, kept, Results(arguments.places.results))
    script = str(Path(__file__).resolve().parents[1] / "paper_figures" / "make_all.py")
    command = [sys.executable, script, "--grid", *cells.grid, "--print-table", *chosen]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(main))
