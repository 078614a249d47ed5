"""The tasks that submitit runs on a node: one training, or cells one after the other."""

import multiprocessing
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from submitit.helpers import DelayedSubmission

import bench
from bench.evaluation.plan import needed_runs
from bench.spec.arguments import Places, Running
from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.store.prices import kept_prices
from bench.store.records import Store, missing
from bench.system.files import utc_now
from bench.training.runs import check_comparable

if TYPE_CHECKING:
    from bench.sampling.setting import Setting


def log_code() -> None:
    """Print the folder of the running code to the job's log."""
    print(f"code: {Path(bench.__file__).parent.parent}", flush=True)


def log_cell(key: str, status: str, reason: str) -> None:
    """Print to the job's log how a cell ended."""
    print(f"{time.strftime('%H:%M:%S')} {key} {status} {reason}".rstrip(), flush=True)


@dataclass
class TrainingTask:
    """Trains runs on as many ranks as the job has. Requeued before its time limit until all trainings have ended.

    The runs differ only in length, and each goes on from the end of the one before (`bench.training.runs`).
    """

    runs: list[TrainingRun]
    store: Store
    running: Running
    places: Places

    def __call__(self) -> dict[str, str]:
        """Train, and return the statuses by name of the run."""
        from bench.training.ranks import joined
        from bench.training.turns import train_together
        from slurm.train import in_job

        log_code()
        with in_job() as interrupts:  # submitit's own handler would save on one rank only, in the middle of a step
            device, execution = self.running.chosen()
            with joined(device) as (ranks, device):
                train_together(self.runs, self.store, device, execution, self.places, ranks, interrupts)
        summaries = {run.name: self.store.read_training(run) for run in self.runs}
        return {name: "requeued" if one is None else str(one["status"]) for name, one in summaries.items()}


@dataclass
class CellsTask:
    """Evaluates cells, each in a child process. Requeued before its time limit until all cells have records.

    Attributes:
        suite: the suite of the cells.
        cells: the cells to evaluate.
        store, running, places: as for `bench.evaluation.executors.Work`.
        half_s: half of a job's usable time, in seconds. A job that ran for so long without any progress is fruitless;
            after two in a row the current cell gets a `timeout` record.
        fruitless: number of fruitless jobs in a row so far.
        left: the cells that have not ended, the current one first.
        ended: number of cells that have ended in this job.
        reached: batches of each cell that were on disk when this job started, by cell key.
        started: when this job started, on the monotonic clock, in seconds.
    """

    suite: Suite
    cells: list[AnyCell]
    store: Store
    running: Running
    places: Places
    half_s: float
    fruitless: int = 0
    left: list[AnyCell] = field(default_factory=list)
    ended: int = 0
    reached: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    started: float = 0.0

    def __call__(self) -> dict[str, str]:
        """Evaluate, and return the statuses by cell key."""
        from bench.evaluation.calibration import check_hardware
        from bench.evaluation.workers import evaluate_all, in_order

        log_code()
        self.started, self.ended = time.monotonic(), 0
        check_hardware(self.cells, self.suite, kept_prices(self.store, self.suite), self.running.device)
        check_comparable(self.store, needed_runs(self.cells))
        setting, statuses = self.setting(), {}
        self.left = in_order(missing(self.store, self.cells))
        self.reached = {cell.key: self.store.batches_done(cell) for cell in self.left}
        for record in evaluate_all(self.left, setting, apart=True):
            self.left = [cell for cell in self.left if cell.key != record.key]
            self.ended += 1
            statuses[record.key] = record.status
            log_cell(record.key, record.status, record.reason)
        return statuses

    def setting(self) -> "Setting":
        """What cells are evaluated with."""
        from bench.sampling.setting import Setting

        device, execution = self.running.chosen()
        return Setting(self.store, device, 1, execution, self.places, since=utc_now())

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit when the job's time is up; returns the task of the requeued job."""
        from bench.evaluation.workers import lost

        for child in multiprocessing.active_children():
            child.kill()
        elapsed_s = time.monotonic() - self.started
        left = missing(self.store, self.left)  # read again, because the child may just have written a record
        added = any(self.store.batches_done(cell) - self.reached.get(cell.key, set()) for cell in left)
        nothing = not self.ended and len(left) == len(self.left) and not added
        fruitless = self.fruitless + (elapsed_s >= self.half_s) if nothing else 0
        if fruitless == 2:
            reason = f"it did not end within a job, twice, the second time in {elapsed_s:.0f} s"
            lost(left[0], self.setting(), "timeout", reason)
            log_cell(left[0].key, "timeout", reason)
            left, fruitless = left[1:], 0
        return DelayedSubmission(
            CellsTask(self.suite, left, self.store, self.running, self.places, self.half_s, fruitless)
        )
