"""What submitit runs on a node: one training, or some cells one after the other."""

import multiprocessing
import time
from dataclasses import dataclass, field
from pathlib import Path

from submitit.helpers import DelayedSubmission

import bench
from bench.evaluation.calibration import check_hardware, kept_prices
from bench.evaluation.plan import needed_runs
from bench.spec.arguments import ExecutionArguments
from bench.spec.assets import Assets
from bench.spec.cells import TrainingRun
from bench.spec.measurements import AnyCell
from bench.spec.suites import Suite
from bench.store.records import Store, missing
from bench.system.files import utc_now
from bench.training.fairness import check_comparable


def say_which_code() -> None:
    """To the log: where the code that runs is."""
    print(f"code: {Path(bench.__file__).parent.parent}", flush=True)


@dataclass
class TrainingTask:
    """Trains one run, on as many ranks as the job has tasks; requeued before its time limit until the clock is full."""

    run: TrainingRun
    store: Store
    execution: ExecutionArguments
    assets: Assets

    def __call__(self) -> str:
        """The run's status."""
        from bench.training.ranks import joined
        from bench.training.turns import train_together
        from slurm.train import in_job

        say_which_code()
        with in_job() as interrupts:  # submitit would save on one rank, in the middle of a step
            device, execution = self.execution.chosen()
            with joined(device) as (ranks, device):
                train_together([self.run], self.store, device, execution, self.assets, ranks, interrupts)
        summary = self.store.read_training(self.run)
        return "requeued" if summary is None else str(summary["status"])


@dataclass
class CellsTask:
    """Evaluates cells, each in a process that may die; requeued before its time limit until all have records.

    Attributes:
        suite: whose cells they are.
        cells: what to evaluate.
        store, execution, assets: as for the evaluator.
        half_s: seconds that count as half a job's time. A cell that had two such jobs to itself is given up.
        fruitless: such jobs, so far, in which nothing ended and no batch was added.
        left: cells under way, or still to come.
        ended: how many have ended since this job was started, or requeued.
        reached: the batches that were written down of each then.
    """

    suite: Suite
    cells: list[AnyCell]
    store: Store
    execution: ExecutionArguments
    assets: Assets
    half_s: float
    fruitless: int = 0
    left: list[AnyCell] = field(default_factory=list)
    ended: int = 0
    reached: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    started: float = 0.0

    def __call__(self) -> dict[str, str]:
        """Statuses by key."""
        from bench.evaluation.workers import evaluate_all, in_order

        say_which_code()
        self.started, self.ended = time.monotonic(), 0
        device, execution = self.execution.chosen()
        check_hardware(self.cells, self.suite, kept_prices(self.store, self.suite), self.execution.device)
        check_comparable(self.store, needed_runs(self.cells))
        since, statuses = utc_now(), {}
        self.left = in_order(missing(self.store, self.cells))
        self.reached = {cell.key: self.store.batches_done(cell) for cell in self.left}
        for record in evaluate_all(self.left, self.store, device, 1, execution, self.assets, apart=True, since=since):
            self.left = [cell for cell in self.left if cell.key != record.key]
            self.ended += 1
            statuses[record.key] = record.status
            print(f"{time.strftime('%H:%M:%S')} {record.key} {record.status} {record.reason}".rstrip(), flush=True)
        return statuses

    def checkpoint(self) -> DelayedSubmission:
        """What is to be run again when the time is up. A cell that is given up has a record that says so."""
        from bench.evaluation.workers import lost

        for child in multiprocessing.active_children():
            child.kill()
        elapsed_s = time.monotonic() - self.started
        left = missing(self.store, self.left)  # without what the child has just written
        added = any(self.store.batches_done(cell) - self.reached.get(cell.key, set()) for cell in left)
        nothing = not self.ended and len(left) == len(self.left) and not added
        fruitless = self.fruitless + (elapsed_s >= self.half_s) if nothing else 0
        if fruitless == 2:
            device, _ = self.execution.chosen()
            reason = f"it did not end within a job, twice, the second time in {elapsed_s:.0f} s"
            lost(left[0], self.store, device, "timeout", reason)
            print(f"{time.strftime('%H:%M:%S')} {left[0].key} timeout {reason}", flush=True)
            left, fruitless = left[1:], 0
        return DelayedSubmission(
            CellsTask(self.suite, left, self.store, self.execution, self.assets, self.half_s, fruitless)
        )
