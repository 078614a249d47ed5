"""One rank of a training job: bench/train.py under Slurm.   srun python slurm/train.py --suite imagenet --models fpdm

Ranks find each other through Slurm's environment. The signal before the time limit (--signal=USR2@300) ends training at
the same step everywhere; rank 0 writes the checkpoint and has the job requeued, until the training clock is full.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from submitit.helpers import TorchDistributedEnvironment

from bench.store.records import Store
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.signals import Interrupts, OutOfTimeError
from slurm.jobs import Ledger, this_job

ATTEMPTS, PAUSE_S = 6, 10.0  # to have a job requeued, while its time lasts


def set_ranks() -> None:
    """Say in torch's words (RANK, WORLD_SIZE, ...) which of a Slurm job's tasks this is; outside of one, nothing."""
    if "SLURM_JOB_ID" in os.environ:
        os.environ.setdefault("SUBMITIT_EXECUTOR", "slurm")  # by which submitit knows where it is
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def is_first() -> bool:
    """Whether this is the job's first task, which speaks to Slurm for all."""
    return "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_PROCID", "0") == "0"


def requeue() -> None:
    """Have this job, or task of an array, started again. A controller that is too busy is asked again.

    Raises:
        BadInputError: it did not take it.
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
    raise BadInputError(f"job {job} could not be requeued ({reason}): submit it again, it goes on where it stopped")


@contextmanager
def in_job() -> Iterator[Interrupts]:
    """Train inside as one rank of a job, by these interrupts; when its time is up, the job is requeued."""
    interrupts = Interrupts()
    with interrupts.deferred():
        set_ranks()
        try:
            yield interrupts
        except OutOfTimeError:
            requeue()


def main(argv: list[str] | None = None) -> int:
    """The command line of bench/train.py; returns the exit status."""
    with in_job() as interrupts:
        from bench import train

        arguments = parse(train.Arguments, argv)
        if is_first():  # grids that are submitted meanwhile are not to queue the same training
            store = Store(arguments.results.resolve(), arguments.suite)
            with Ledger.opened(store.root) as ledger:
                ledger.add([run.name for run in arguments.runs()], this_job())
        return train.main(argv, interrupts)
    return 0  # requeued


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
