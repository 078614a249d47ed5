"""Evaluate a grid of equal-compute cells: python bench/run_grid.py --grid smoothing"""

import csv
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from bench.cells import Cell, TrainingRun
from bench.cli import CellArguments, parse, run
from bench.errors import BadInputError
from bench.grids import get_cells
from bench.malloc import restart_with_tuned_malloc
from bench.store import Store, missing
from bench.suites import get_suite


@dataclass(frozen=True)
class Arguments(CellArguments):
    """Evaluate a grid: train what is missing for equal seconds, then sample and measure every cell without a record.

    Run it again to go on where it stopped; cells that are done are not evaluated again.
    """

    grid: str = "smoothing"
    """Which experiment: smoothing (the paper's Figure 4) or reuse (Figure 6a)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Processes that evaluate cells side by side; by default one per core on a CPU, one on a GPU."""
    list_cells: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print the grid's cells as CSV and stop."""
    retrain: bool = False
    """Train again where records were kept but their weights were not; the records are replaced."""
    dry_run: bool = False
    """Print what would be trained and evaluated and stop."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    if arguments.workers is not None and arguments.workers < 1:
        raise BadInputError(f"--workers {arguments.workers}: must be 1 or more")
    suite = get_suite(arguments.suite)
    cells = get_cells(arguments.grid, suite, arguments.selection())
    if arguments.list_cells:
        rows = [{"grid": arguments.grid, **cell.row()} for cell in cells]
        writer = csv.DictWriter(sys.stdout, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return 0
    store = Store(arguments.results, suite.name)
    if arguments.dry_run:
        _plan(store, cells)
        return 0
    store.check_writable()
    failed = 0
    if todo := missing(store, cells):
        if not arguments.retrain:
            _refuse_to_outdate(store, todo)
        failed = _work(arguments, store, cells)
    else:
        print(f"all {len(cells)} cells of {arguments.grid} have records: nothing to evaluate")
    drawn = _draw(arguments)
    return drawn or (1 if failed else 0)


def _needed_runs(cells: Sequence[Cell]) -> list[TrainingRun]:
    return list(dict.fromkeys(cell.run for cell in cells))


def _refuse_to_outdate(store: Store, todo: Sequence[Cell]) -> None:
    """Weights are not kept with the results. Training them anew, as for one more cell, would make kept records old."""
    for training in _needed_runs(todo):
        if store.read_training(training) is not None and not store.has_weights(training):
            raise BadInputError(
                f"{training.name}: its records are in {store.root}, its weights are not; choose another --results, or "
                "--retrain to train again and replace them"
            )


def _plan(store: Store, cells: Sequence[Cell]) -> None:
    todo = missing(store, cells)
    for training in _needed_runs(todo):
        if store.read_training(training) is None or not store.has_weights(training):
            print(f"train     {training.name} ({training.budget_text})")
    for cell in todo:
        print(
            f"evaluate  {cell.run.model:<4} budget {cell.budget:>3}, {cell.iterations:>2} iterations x "
            f"{cell.steps:>2} steps, seed {cell.seed}, {cell.protocol.samples} samples"
        )
    print(f"{len(todo)} of {len(cells)} cells to evaluate")


def _work(arguments: Arguments, store: Store, cells: Sequence[Cell]) -> int:
    """Train and evaluate what is missing; how many cells did not end as done."""
    from tqdm import tqdm

    from bench.environment import pick_device
    from bench.trainer import train_together
    from bench.workers import default_workers, evaluate_all

    device = pick_device(arguments.device)
    train_together(_needed_runs(missing(store, cells)), store, device)
    todo = missing(store, cells)  # weights trained just now make older records stale
    failed = 0
    workers = default_workers(device) if arguments.workers is None else arguments.workers
    form = "evaluate  : {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=sum(cell.macs for cell in todo), bar_format=form, disable=not todo) as bar:
        for done, record in enumerate(evaluate_all(todo, store, device, workers), start=1):
            cell = record.cell
            what = f"{cell['model']} {cell['budget']} k={cell['iterations']}"
            if record.status == "done":
                what += f" FD {record.metrics['fid']:.3g}"
            else:
                failed += 1
                bar.write(f"{what}: {record.status}, {record.reason}", file=sys.stderr)
            bar.set_postfix_str(f"{done}/{len(todo)} cells, {what}", refresh=False)
            bar.update(cell["macs"])
    return failed


def _draw(arguments: Arguments) -> int:
    """Redraw tables and figures, in a process of its own: the harness does not depend on what is drawn from it."""
    command = [
        sys.executable,
        "-m",
        "paper_figures.make_all",
        "--grid",
        arguments.grid,
        "--print-table",
        *arguments.flags(),
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
