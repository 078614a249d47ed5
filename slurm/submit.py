"""Submits a grid's missing work to Slurm: python slurm/submit.py --suite imagenet --grid smoothing --profile v100

This is `bench/run_grid.py --executor slurm`. All trainings are one array; those that differ only in length are one task
of it. The cells of each training are an array that starts after its task. Work that another submission has queued is
not queued again. Jobs run a copy of the code as it is now.
"""

import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import submitit
from tqdm import tqdm

from bench.evaluation.executors import Work
from bench.evaluation.plan import Capacity, check_dtypes, needed_runs, untrained
from bench.spec.arguments import Places, Running
from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.store.records import Store, missing
from bench.system.command_line import run as run_main
from bench.system.errors import BadInputError
from bench.training.runs import chains
from slurm.commands import NoAnswerError, RefusedError, in_parts, outside_job, refusal
from slurm.jobs import Ledger
from slurm.resources import Profile, Resources, load_profile, submitit_parameters
from slurm.snapshot import take_snapshot
from slurm.tasks import CellsTask, TrainingTask

REQUEUES = 1000  # at most, of one job: each requeued job makes progress or gives a cell up
POLL_S, PATIENCE = 5.0, 60  # seconds between two looks at the queue; looks in a row that Slurm may leave unanswered
EARLY_S = 60  # Slurm may signal this much earlier than requested


class Slurm:
    """The executor that queues work on a cluster (`bench.evaluation.executors`)."""

    queues = True

    def __init__(self, work: Work) -> None:
        self._work = work

    def check(self) -> None:
        """BadInputError for options that make no sense, or a profile that cannot be used."""
        self._work.running.check()
        load_profile(self._work.profile)
        if found := {"%", ":"}.intersection(results := str(self._work.store.root.resolve())):
            raise BadInputError(
                f"--results {results}: {' and '.join(sorted(found))} has a meaning in Slurm's names of logs or in "
                "PYTHONPATH; choose a folder without it"
            )

    def capacity(self) -> Capacity:
        """As many cells as the profile lets run at once."""
        profile = load_profile(self._work.profile)
        gpu = self._work.suite.gpus > 1 or profile.gpu_gib is not None
        return Capacity(profile.parallel, gpu, profile.gpu_gib)

    def run(self, cells: Sequence[AnyCell]) -> int | None:
        """Submit the work that cells still need, and say what was submitted.

        Returns:
            How many cells ended as neither `done` nor `skipped`; None if the jobs are not waited for.

        Raises:
            BadInputError: the nodes lack a cell's dtype, or Slurm refuses a job or does not answer.
        """
        work = self._work
        store = Store(work.store.root.parent.resolve(), work.suite.name)
        profile, places = load_profile(work.profile), _absolute(work.places)
        check_dtypes(missing(store, cells), profile.dtypes, f"a node of profile {profile.name}")
        submission = Submission(work.suite, store, profile, work.running, places)
        trainings, evaluations = submission.submit(cells)
        print(
            f"submitted: {trainings} training(s), {evaluations} cell(s), without those that other jobs work on. Logs: "
            f"{store.root / 'slurm' / 'logs'}. The same command with --wait shows progress"
        )
        if not work.wait:
            return None
        failed = 0
        for cell in submission.wait(cells):
            record = store.current(cell)
            reason = "its job ended without a record" if record is None else f"{record.status}, {record.reason}"
            print(f"{cell}: {reason}", file=sys.stderr)
            failed += record is None or record.status != "skipped"
        return failed


@dataclass(frozen=True)
class Submission:
    """The work of a suite for one cluster; all paths are absolute, because jobs start in another folder."""

    suite: Suite
    store: Store
    profile: Profile
    running: Running
    places: Places

    def submit(self, cells: Sequence[AnyCell]) -> tuple[int, int]:
        """Queue the trainings and cells that no job works on; returns the number of each. BadInputError if refused."""
        with Ledger.opened(self.store.root) as ledger:
            todo = missing(self.store, cells)
            runs = [run for run in untrained(self.store, needed_runs(todo)) if run.name not in ledger.jobs]
            todo = [cell for cell in todo if cell.key not in ledger.jobs]
            if not runs and not todo:
                return 0, 0
            code = take_snapshot(self.store.root / "slurm" / "code")
            try:
                if runs:
                    self._train(runs, ledger, code)
                for run in {cell.run: None for cell in todo}:
                    self._evaluate(run, [cell for cell in todo if cell.run == run], ledger, code)
            except (RefusedError, NoAnswerError) as error:
                raise self._told(error, [run.name for run in runs], [cell.key for cell in todo], ledger) from error
        return len(runs), len(todo)

    def _told(self, error: BadInputError, runs: Sequence[str], cells: Sequence[str], ledger: Ledger) -> BadInputError:
        """The error, with what is queued and what is left."""
        said = str(error)
        if isinstance(error, RefusedError):
            said = f"--profile {self.profile.name}: Slurm refuses the job ({said})"
        trainings, evaluations = (sum(name in ledger.jobs for name in names) for names in (runs, cells))
        if trainings or evaluations:
            left = len(runs) - trainings + len(cells) - evaluations
            said += f"; {trainings} training(s) and {evaluations} cell(s) are queued, {left} are left: "
            said += "run the same command again later"
        return BadInputError(said)

    def wait(self, cells: Sequence[AnyCell]) -> list[AnyCell]:
        """Show progress until no job works for these cells; returns those that still have no `done` record.

        A cell or training whose job ended without a result, for example because a node failed, is submitted once more.
        """
        again, silent = True, 0
        form = "cells: {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}{postfix}]"
        with tqdm(total=len(cells), bar_format=form) as bar:
            while True:
                try:
                    states, silent = self._states(cells), 0
                except NoAnswerError:
                    if (silent := silent + 1) > PATIENCE:
                        raise
                    time.sleep(POLL_S)
                    continue
                todo = missing(self.store, cells)  # after the states: ended jobs have written records
                bar.n = len(cells) - sum(1 - self.store.fraction_done(cell) for cell in todo)
                bar.set_postfix_str(", ".join(f"{states.count(s)} jobs {s.lower()}" for s in sorted(set(states))))
                if not states:
                    lost = [cell for cell in todo if self.store.current(cell) is None]
                    if not lost or not again:
                        return todo
                    again = False
                    bar.write(f"{len(lost)} cells have no record, and no job is left: they are submitted once more")
                    self.submit(lost)
                time.sleep(POLL_S)

    def _states(self, cells: Iterable[AnyCell]) -> list[str]:
        """States of the jobs that work for these cells and their trainings."""
        names = {cell.key for cell in cells} | {run.name for run in needed_runs(cells)}
        with Ledger.opened(self.store.root) as ledger:
            return [ledger.live[job] for job in {job for name, job in ledger.jobs.items() if name in names}]

    def _train(self, runs: Sequence[TrainingRun], ledger: Ledger, code: Path) -> None:
        tasks = [TrainingTask(chain, self.store, self.running, self.places) for chain in chains(runs)]
        for queued, jobs in self._queue("train", self.profile.training, tasks, code):
            ledger.add({run.name: job for task, job in zip(queued, jobs, strict=True) for run in task.runs})

    def _evaluate(self, run: TrainingRun | None, cells: Sequence[AnyCell], ledger: Ledger, code: Path) -> None:
        resources = self.profile.evaluation
        ordered = sorted(cells, key=lambda cell: -cell.work)
        count = -(-len(ordered) // resources.cells)
        chunks = [ordered[i::count] for i in range(count)]  # each job gets expensive and cheap cells
        half_s = max(0, 60 * resources.minutes - self.profile.signal_s - EARLY_S) / 2
        tasks = [CellsTask(self.suite, chunk, self.store, self.running, self.places, half_s) for chunk in chunks]
        training = None if run is None else ledger.jobs.get(run.name)
        for queued, jobs in self._queue("cells", resources, tasks, code, training):
            ledger.add({cell.key: job for task, job in zip(queued, jobs, strict=True) for cell in task.cells})

    def _queue(
        self, what: str, resources: Resources, tasks: Sequence[Any], code: Path, after: str | None = None
    ) -> Iterator[tuple[Sequence[Any], Sequence[str]]]:
        """Submit tasks as arrays that fit, which start once the job `after` has succeeded; see `in_parts`."""
        parameters = submitit_parameters(self.profile, resources, f"{self.store.root.name}-{what}")
        setup = [
            *parameters.pop("slurm_setup", []),
            f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
            "export PYTHONSAFEPATH=1",  # otherwise Python would import from the folder of submission before the copy
            "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
        ]
        if after is not None:
            parameters["slurm_additional_parameters"] |= {
                "dependency": f"afterok:{after}",
                "kill-on-invalid-dep": "yes",
            }
        return in_parts(tasks, lambda part: self._submit_array({**parameters, "slurm_setup": setup}, part))

    def _submit_array(self, parameters: Mapping[str, Any], tasks: Sequence[Any]) -> list[str]:
        """Submit tasks as one array; returns the ids of their jobs. RefusedError if Slurm refuses it; no file is left.

        Nobody else writes to the folder of logs meanwhile, because the ledger is open.
        """
        folder = self.store.root / "slurm" / "logs"
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=REQUEUES)
        executor.update_parameters(**parameters)
        try:
            with outside_job(), redirect_stderr(StringIO()), executor.batch():
                jobs = [executor.submit(task) for task in tasks]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            for path in (*folder.glob("[0-9a-f]" * 32 + ".pkl"), *folder.glob(".submission_file_*.sh")):
                if not path.is_symlink():  # a link belongs to a job
                    path.unlink()
            raise refusal(str(error)) from error
        return [job.job_id for job in jobs]


def _absolute(places: Places) -> Places:
    """The same places with absolute paths, because jobs start in another folder."""
    from bench.data import fashion

    data, weights = places.data or fashion.usual(), places.inception_weights
    return replace(
        places,
        results=places.results.resolve(),
        prepared=places.prepared.resolve(),
        vae=str(Path(places.vae).resolve()) if places.vae and Path(places.vae).is_dir() else places.vae,
        inception_weights=weights and weights.resolve(),
        dinov2_weights=places.dinov2_weights and places.dinov2_weights.resolve(),
        data=data and data.resolve(),
        held_out=places.held_out and places.held_out.resolve(),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line of bench/run_grid.py with --executor slurm; returns the exit status."""
    from bench import run_grid

    return run_grid.main(["--executor", "slurm", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(run_main(main))
