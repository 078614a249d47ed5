"""What submitit runs on a node: one training, or some cells one after the other."""

import multiprocessing
import time
from dataclasses import dataclass, field

from submitit.helpers import DelayedSubmission

from bench.assets import Assets
from bench.cells import TrainingRun
from bench.cli import ExecutionArguments
from bench.interrupts import Interrupts, OutOfTimeError
from bench.measurements import AnyCell
from bench.store import Store, missing, utc_now


@dataclass
class TrainingTask:
    """Trains one run, on as many ranks as the job has tasks; requeued before its time limit until the clock is full."""

    run: TrainingRun
    store: Store
    execution: ExecutionArguments
    assets: Assets

    def __call__(self) -> str:
        """The run's status."""
        from bench.ranks import joined
        from bench.turns import train_together
        from slurm.train import requeue, set_ranks

        interrupts = Interrupts()
        with interrupts.deferred():  # submitit would save on one rank, in the middle of a step
            set_ranks()
            device, execution = self.execution.chosen()
            try:
                with joined(device) as (ranks, device):
                    train_together([self.run], self.store, device, execution, self.assets, ranks, interrupts)
            except OutOfTimeError:
                requeue()
                return "requeued"
        summary = self.store.read_training(self.run)
        return "unknown" if summary is None else str(summary["status"])


@dataclass
class CellsTask:
    """Evaluates cells, each in a process that may die; requeued before its time limit until all have records.

    Attributes:
        cells: what to evaluate.
        store, execution, assets: as for the evaluator.
        enough_s: seconds after which a cell that had the job to itself is given up when the job's time is up.
        left: those under way, or still to come.
        ended: how many have ended since this job was started, or requeued.
    """

    cells: list[AnyCell]
    store: Store
    execution: ExecutionArguments
    assets: Assets
    enough_s: float
    left: list[AnyCell] = field(default_factory=list)
    ended: int = 0
    started: float = 0.0

    def __call__(self) -> dict[str, str]:
        """Statuses by key."""
        from bench.workers import evaluate_all, in_order

        self.started, self.ended = time.monotonic(), 0
        device, execution = self.execution.chosen()
        since, statuses = utc_now(), {}
        self.left = in_order(missing(self.store, self.cells))
        for record in evaluate_all(self.left, self.store, device, 1, execution, self.assets, apart=True, since=since):
            self.left = [cell for cell in self.left if cell.key != record.key]
            self.ended += 1
            statuses[record.key] = record.status
            print(f"{time.strftime('%H:%M:%S')} {record.key} {record.status} {record.reason}".rstrip(), flush=True)
        return statuses

    def checkpoint(self) -> DelayedSubmission:
        """What is to be run again when the time is up; a cell that had it all to itself is not, and has a record."""
        from bench.workers import lost

        for child in multiprocessing.active_children():
            child.kill()
        elapsed_s = time.monotonic() - self.started
        if self.left and not self.ended and elapsed_s >= self.enough_s:
            device, _ = self.execution.chosen()
            reason = f"it did not end in the {elapsed_s:.0f} s of a job"
            lost(self.left[0], self.store, device, "timeout", reason)
            print(f"{self.left[0].key} timeout {reason}", flush=True)
            self.left = self.left[1:]
        return DelayedSubmission(CellsTask(self.left, self.store, self.execution, self.assets, self.enough_s))
