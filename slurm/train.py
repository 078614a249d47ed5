"""Runs bench/train.py as one rank of a Slurm job: srun python slurm/train.py --suite imagenet [--models fpdm].

In an array, task i trains the i-th contender of --models (`slurm.array_tasks`). Ranks find each other through Slurm's
environment variables. The signal before the time limit (--signal=USR2@300) stops all ranks at the same step; rank 0
writes the checkpoint and requeues the job, until the training clock has reached its budget.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from submitit.helpers import TorchDistributedEnvironment

from bench import train
from bench.store.records import Store
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.signals import Interrupts, OutOfTimeError
from slurm.array_tasks import runs_of_task, submit_rest
from slurm.jobs import Ledger, this_job

ATTEMPTS, PAUSE_S = 6, 10.0  # of requeueing, while the job's time lasts


def set_ranks() -> None:
    """Set torch's variables (RANK, WORLD_SIZE, ...) from those of Slurm. Does nothing outside of a Slurm job."""
    if "SLURM_JOB_ID" in os.environ:
        os.environ.setdefault("SUBMITIT_EXECUTOR", "slurm")  # submitit reads Slurm's variables only if this is set
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def is_first() -> bool:
    """Whether this is the first task of a Slurm job. Only this task requeues the job and writes to the ledger."""
    return "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_PROCID", "0") == "0"


def requeue() -> None:
    """Requeue this job, or this task of an array. Asks again if the controller refuses or does not answer.

    Raises:
        BadInputError: all attempts failed.
    """
    if not is_first():
        return
    job, reason = this_job(), ""
    print(f"out of time: everything is saved; job {job} is requeued", file=sys.stderr, flush=True)
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_S if attempt else 0)
        try:
            result = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        else:
            if result.returncode == 0:
                return
            reason = " ".join(result.stderr.split())
    raise BadInputError(f"job {job} could not be requeued ({reason}): submit it again to resume its checkpoint")


@contextmanager
def in_job() -> Iterator[Interrupts]:
    """Give the interrupts with which one rank of a job trains. When they stop it for its time, requeue the job."""
    interrupts = Interrupts()
    with interrupts.deferred():
        set_ranks()
        try:
            yield interrupts
        except OutOfTimeError:
            requeue()


def main(argv: list[str] | None = None) -> int:
    """Run the command line of bench/train.py; returns the exit status."""
    with in_job() as interrupts:
        arguments = parse(train.Arguments, argv)
        all_runs = arguments.runs()
        if is_first():
            submit_rest(len(all_runs), (sys.argv[1:] if argv is None else argv)[6:])  # without the body's
        if not (runs := runs_of_task(all_runs)):
            if is_first():
                print(f"array task {os.environ['SLURM_ARRAY_TASK_ID']} has nothing to do: {len(all_runs)} training(s)")
            return 0
        if is_first():  # so that grids submitted meanwhile do not queue the same training
            store = Store(arguments.places.results.resolve(), arguments.what.suite)
            with Ledger.opened(store.root) as ledger:
                ledger.add({run.name: this_job() for run in runs})
        return train.train(arguments, runs, interrupts)
    return 0  # requeued


if __name__ == "__main__":
    sys.exit(run(main))
