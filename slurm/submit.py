"""A grid's missing work as jobs of a cluster:   python slurm/submit.py --suite imagenet --grid smoothing --profile v100

The same as `bench/run_grid.py --executor slurm`. Trainings are one array; cells are an array for each training, which
they wait for. What other submissions have queued is not queued again. Jobs run a copy of the code as it is now.
"""

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import submitit
from tqdm import tqdm

from bench.evaluation.plan import needed_runs, untrained
from bench.spec.arguments import ExecutionArguments
from bench.spec.assets import Assets
from bench.spec.cells import TrainingRun
from bench.spec.measurements import AnyCell
from bench.spec.suites import Suite
from bench.store.records import Store, missing
from bench.system.command_line import run as run_main
from bench.system.errors import BadInputError
from slurm.jobs import Ledger, NoAnswerError
from slurm.resources import Profile, Resources, submitit_parameters
from slurm.snapshot import take_snapshot
from slurm.tasks import CellsTask, TrainingTask

REQUEUES = 1000  # each makes progress, or gives a cell up
POLL_S, PATIENCE = 5.0, 60  # seconds between looks at the queue; how often Slurm may not answer
EARLY_S = 60  # how much earlier than asked for Slurm may signal


@dataclass(frozen=True)
class Submission:
    """What is submitted, and how.

    Attributes:
        suite: whose work it is.
        store: absolute, so that tasks find it wherever they start.
        profile: of the cluster.
        execution: on what and how networks are run there.
        assets: absolute, too.
    """

    suite: Suite
    store: Store
    profile: Profile
    execution: ExecutionArguments
    assets: Assets

    def submit(self, cells: Sequence[AnyCell]) -> tuple[int, int]:
        """Queue what cells need and no job is at; how many trainings and cells that was. BadInputError if refused."""
        with Ledger.opened(self.store.root) as ledger:
            todo = missing(self.store, cells)
            runs = [run for run in untrained(self.store, needed_runs(todo)) if run.name not in ledger.jobs]
            todo = [cell for cell in todo if cell.key not in ledger.jobs]
            if not runs and not todo:
                return 0, 0
            code = take_snapshot(self.store.root / "slurm" / "code")
            if runs:
                self._train(runs, ledger, code)
            for run in {cell.run: None for cell in todo}:
                self._evaluate(run, [cell for cell in todo if cell.run == run], ledger, code)
        return len(runs), len(todo)

    def _train(self, runs: Sequence[TrainingRun], ledger: Ledger, code: Path) -> None:
        tasks = [TrainingTask(run, self.store, self.execution, self.assets) for run in runs]
        for run, job in zip(runs, self._queue("train", self.profile.training, tasks, code), strict=True):
            ledger.add([run.name], job)

    def _evaluate(self, run: TrainingRun | None, cells: Sequence[AnyCell], ledger: Ledger, code: Path) -> None:
        resources = self.profile.evaluation
        ordered = sorted(cells, key=lambda cell: -cell.work)
        count = -(-len(ordered) // resources.cells)
        chunks = [ordered[i::count] for i in range(count)]  # each gets some expensive and some cheap ones
        half_s = max(0, 60 * resources.minutes - self.profile.signal_s - EARLY_S) / 2
        tasks = [CellsTask(self.suite, chunk, self.store, self.execution, self.assets, half_s) for chunk in chunks]
        training = None if run is None else ledger.jobs.get(run.name)
        for chunk, job in zip(chunks, self._queue("cells", resources, tasks, code, training), strict=True):
            ledger.add([cell.key for cell in chunk], job)

    def _queue(
        self, what: str, resources: Resources, tasks: Sequence[Any], code: Path, after: str | None = None
    ) -> list[str]:
        """Submit tasks as one array, to start `after` a job has succeeded; their jobs."""
        folder = self.store.root / "slurm" / "logs"
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=REQUEUES)
        parameters = submitit_parameters(self.profile, resources, f"{self.store.root.name}-{what}")
        setup = [
            *parameters.pop("slurm_setup", []),
            f"export PYTHONPATH={shlex.quote(str(code))}",
            "export PYTHONSAFEPATH=1",  # else the folder that was submitted from would come before the copy
            "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
        ]
        if after is not None:
            parameters["slurm_additional_parameters"] |= {
                "dependency": f"afterok:{after}",
                "kill-on-invalid-dep": "yes",
            }
        executor.update_parameters(**parameters, slurm_setup=setup)
        try:
            with executor.batch():
                jobs = [executor.submit(task) for task in tasks]
        except submitit.core.utils.FailedJobError as error:
            reason = " ".join(str(error).split("sbatch: error:")[-1].split())
            raise BadInputError(f"--profile {self.profile.name}: Slurm refuses the job ({reason})") from error
        return [job.job_id for job in jobs]


def wait(submission: Submission, cells: Sequence[AnyCell]) -> list[AnyCell]:
    """Show progress until no job is left that works for these cells; those that still have no `done` record.

    A cell or training whose job ended without a result is submitted once more, as when a node fails.
    """
    again, silent = True, 0
    form = "cells: {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}{postfix}]"
    with tqdm(total=len(cells), bar_format=form) as bar:
        while True:
            try:
                states, silent = _states(submission, cells), 0
            except NoAnswerError:
                if (silent := silent + 1) > PATIENCE:
                    raise
                time.sleep(POLL_S)
                continue
            todo = missing(submission.store, cells)  # after the states: what jobs that have ended wrote is there
            bar.n = len(cells) - sum(1 - submission.store.fraction_done(cell) for cell in todo)
            bar.set_postfix_str(", ".join(f"{states.count(s)} jobs {s.lower()}" for s in sorted(set(states))))
            if not states:
                lost = [cell for cell in todo if submission.store.current(cell) is None]
                if not lost or not again:
                    return todo
                again = False
                bar.write(f"{len(lost)} cells have no record, and no job is left: they are submitted once more")
                submission.submit(lost)
            time.sleep(POLL_S)


def _states(submission: Submission, cells: Iterable[AnyCell]) -> list[str]:
    """States of the jobs that are under way for these cells and their trainings."""
    names = {cell.key for cell in cells} | {run.name for run in needed_runs(cells)}
    with Ledger.opened(submission.store.root) as ledger:
        return [ledger.live[job] for job in {job for name, job in ledger.jobs.items() if name in names}]


def absolute(assets: Assets) -> Assets:
    """The same, wherever a task starts. A VAE that is a folder here is one there, and so is a usual folder of data."""
    from bench.data import fashion

    vae = str(Path(assets.vae).resolve()) if assets.vae and Path(assets.vae).is_dir() else assets.vae
    weights = assets.inception_weights
    data = assets.data or fashion.usual()
    return replace(
        assets,
        prepared=assets.prepared.resolve(),
        vae=vae,
        inception_weights=weights and weights.resolve(),
        data=data and data.resolve(),
    )


def main(argv: list[str] | None = None) -> int:
    """The command line of bench/run_grid.py, with --executor slurm."""
    from bench import run_grid

    return run_grid.main(["--executor", "slurm", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(run_main(main))
