"""Evaluate a grid of equal-compute cells: python bench/run_grid.py --grid smoothing"""

import csv
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import tyro

from bench.evaluation.calibration import calibrate, check_hardware, needs_prices, resolved, summary
from bench.evaluation.plan import Places, needed_runs, plan, untrained
from bench.spec.arguments import AssetArguments, CellArguments, ExecutionArguments
from bench.spec.datasets import is_latent
from bench.spec.grids import GPU_GRIDS, get_cells
from bench.spec.measurements import AnyCell, Floor
from bench.spec.selection import Selection
from bench.spec.suites import Suite
from bench.store.records import Store, missing
from bench.store.references import reference_path
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.files import utc_now
from bench.training.fairness import check_comparable


@dataclass(frozen=True)
class Arguments(AssetArguments, ExecutionArguments, CellArguments):
    """Evaluate a grid: train what is missing for equal seconds, then sample and measure every cell without a record.

    Run it again to go on where it stopped; cells that are done are not evaluated again.
    """

    grid: str = "smoothing"
    """Which experiment: one of those in bench/spec/grids.py, such as smoothing (the paper's Figure 4), or all."""
    only: tuple[str, ...] = ()
    """Keys of cells, or how they begin: evaluate these of the grid only."""
    workers: int | None = None
    """Processes that evaluate cells side by side; by default one per core on a CPU, one on a GPU."""
    list_cells: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print the grid's cells as CSV and stop."""
    plan: bool = False
    """Print the runs and cells that are missing, with estimated times, and stop."""
    executor: Literal["local", "slurm"] = "local"
    """Where: in this process and its workers, or as jobs of a cluster, queued and left to it."""
    profile: str = "v100"
    """For slurm: a name in slurm/profiles, or your own file of that form."""
    wait: bool = False
    """For slurm: stay, show progress, and draw tables and figures at the end."""
    retrain: bool = False
    """Train again where records were kept but their weights were not; the records are replaced."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    if arguments.workers is not None and arguments.workers < 1:
        raise BadInputError(f"--workers {arguments.workers}: must be 1 or more")
    suite = arguments.chosen_suite()
    store = Store(arguments.results, suite.name)
    if not (arguments.list_cells or arguments.plan):
        _check_where(arguments)
    selection = _calibrated(arguments, suite, store)
    cells = _choose(arguments, get_cells(arguments.grid, suite, selection))
    if arguments.list_cells:
        _list(arguments, cells)
        return 0
    todo = missing(store, cells)
    if arguments.plan:
        print("\n".join(plan(suite, store, cells, todo, _places(arguments, suite))))
        if needs_prices(selection, arguments.grid) and selection.prices is None:
            print("seconds are not calibrated: the cells that follow from them come on top")
        if is_latent(suite.dataset) and selection.reference is None:
            print("there is no reference yet (bench/reference.py): the cells get other keys when there is one")
        return 0
    store.check_writable()
    failed = 0
    if todo:
        _check_assets(arguments, selection, store, todo)
        if not arguments.retrain:
            _refuse_to_outdate(store, todo)
        if arguments.executor == "slurm":
            return _submit(arguments, store, cells)
        check_hardware(todo, suite, selection.prices, arguments.device)
        failed = _work(arguments, store, cells)
    else:
        print(f"all {len(cells)} cells of {arguments.grid} have records: nothing to evaluate")
    drawn = _draw(arguments)
    return drawn or (1 if failed else 0)


def _check_where(arguments: Arguments) -> None:
    """BadInputError for a profile, device or execution that is not there, or that does not fit what is asked for."""
    if arguments.compile and arguments.account == "seconds":
        raise BadInputError("--account seconds --compile: steps are priced as they run uncompiled; leave one out")
    if arguments.executor == "slurm":
        from slurm.resources import load_profile

        arguments.check()
        load_profile(arguments.profile)
        return
    device, _ = arguments.chosen()
    if arguments.grid in GPU_GRIDS and device.type != "cuda":
        raise BadInputError(f"--grid {arguments.grid}: for a GPU, and --device {arguments.device} is {device}")


def _calibrated(arguments: Arguments, suite: Suite, store: Store) -> Selection:
    """What is selected, with prices; they are measured now if cells that are to be evaluated follow from them."""
    selection = resolved(arguments.selection(), store, suite)
    here = not (arguments.list_cells or arguments.plan or arguments.executor == "slurm")
    if arguments.executor == "slurm" and selection.account == "seconds" and selection.prices is None:
        raise BadInputError("--account seconds: not calibrated on the cluster yet; run --grid throughput on it first")
    if here and selection.prices is None and needs_prices(selection, arguments.grid):
        get_cells(arguments.grid, suite, replace(selection, account="macs"))  # bad input comes first
        store.check_writable()
        selection = replace(selection, prices=calibrate(store, suite, arguments.device, _workers(arguments)))
        assert selection.prices is not None
        print(summary(selection.prices))
    return selection


def _choose(arguments: Arguments, cells: Sequence[AnyCell]) -> list[AnyCell]:
    for start in arguments.only:
        if not any(cell.key.startswith(start) for cell in cells):
            raise BadInputError(f"--only {start}: no cell of grid {arguments.grid} has such a key (--list shows them)")
    return [cell for cell in cells if not arguments.only or cell.key.startswith(arguments.only)]


def _list(arguments: Arguments, cells: Sequence[AnyCell]) -> None:
    rows = [{"grid": arguments.grid, **cell.row()} for cell in cells]
    writer = csv.DictWriter(sys.stdout, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _check_assets(arguments: Arguments, selection: Selection, store: Store, todo: Sequence[AnyCell]) -> None:
    """BadInputError, before the work and the queue, where a dataset, latents or reference statistics are missing."""
    from bench.data.pixels import load_dataset, load_held_out
    from bench.data.sources import check_training_data

    dataset, runs = arguments.chosen_suite().dataset, untrained(store, needed_runs(todo))
    judged = any(cell.measure == "quality" for cell in todo)
    check_training_data(runs, arguments.assets())
    if not is_latent(dataset) and (runs or judged):
        load_dataset(dataset, arguments.data)
    if any(isinstance(cell, Floor) for cell in todo):
        load_held_out(arguments.data)
    if judged and is_latent(dataset) and selection.reference is None:
        raise BadInputError(
            f"--suite {arguments.suite}: {reference_path(store.root)} is not there, which names its reference; make it "
            f"with bench/reference.py --suite {arguments.suite} --data DIR"
        )


def _refuse_to_outdate(store: Store, todo: Sequence[AnyCell]) -> None:
    """Weights are not kept with the results. Training them anew, as for one more cell, would make kept records old."""
    for training in needed_runs(todo):
        if store.read_training(training) is not None and not store.has_weights(training):
            raise BadInputError(
                f"{training.name}: its records are in {store.root}, its weights are not; choose another --results, or "
                "--retrain to train again and replace them"
            )


def _workers(arguments: Arguments) -> int:
    """As many as were asked for, or as suit the device."""
    from bench.system.environment import default_workers, pick_device

    return arguments.workers or default_workers(pick_device(arguments.device))


def _places(arguments: Arguments, suite: Suite) -> Places:
    """Where cells would be evaluated; those of a suite for several GPUs on GPUs in any case."""
    if arguments.executor == "local":
        from bench.system.environment import pick_device

        return Places(_workers(arguments), suite.gpus > 1 or pick_device(arguments.device).type == "cuda")
    from slurm.resources import load_profile

    profile = load_profile(arguments.profile)
    return Places(profile.parallel, suite.gpus > 1 or profile.gpu_gib is not None, profile.gpu_gib)


def _work(arguments: Arguments, store: Store, cells: Sequence[AnyCell]) -> int:
    """Train and evaluate what is missing; how many cells did not end as done."""
    from bench.evaluation.cells_bar import CellsBar
    from bench.evaluation.workers import evaluate_all
    from bench.training import checkpoint
    from bench.training.turns import train_together

    device, execution = arguments.chosen()
    assets, alternate = arguments.assets(), arguments.chosen_suite().alternate
    needed = needed_runs(missing(store, cells))
    runs = untrained(store, needed)
    for training in needed:
        if training not in runs:  # before the work, not in the middle of it
            checkpoint.check_ema(store.checkpoint_folder(training), training)
    train_together(runs, store, device, execution, assets, alternate=alternate)
    check_comparable(store, needed_runs(cells))
    since, todo = utc_now(), missing(store, cells)  # weights trained just now make older records stale
    with CellsBar(todo, store) as bar:
        for record in evaluate_all(todo, store, device, _workers(arguments), execution, assets, since=since):
            bar.ended(record)
    return bar.failed


def _submit(arguments: Arguments, store: Store, cells: Sequence[AnyCell]) -> int:
    """Hand the missing work to a cluster; the exit status."""
    from slurm.resources import load_profile
    from slurm.submit import Submission, absolute, wait

    execution = ExecutionArguments(
        **{field.name: getattr(arguments, field.name) for field in fields(ExecutionArguments)}
    )
    absolute_store = Store(arguments.results.resolve(), store.root.name)
    profile, assets = load_profile(arguments.profile), absolute(arguments.assets())
    submission = Submission(arguments.chosen_suite(), absolute_store, profile, execution, assets)
    trainings, evaluations = submission.submit(cells)
    print(
        f"submitted: {trainings} training(s), {evaluations} cell(s); what other jobs are at is left to them. Logs: "
        f"{absolute_store.root / 'slurm' / 'logs'}; the same command with --wait shows how far they are"
    )
    if not arguments.wait:
        return 0
    left = wait(submission, cells)
    for cell in left:
        record = store.current(cell)
        reason = "its job ended without a record" if record is None else f"{record.status}, {record.reason}"
        print(f"{cell}: {reason}", file=sys.stderr)
    failed = [cell for cell in left if (record := store.current(cell)) is None or record.status != "skipped"]
    return _draw(arguments) or (1 if failed else 0)


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
