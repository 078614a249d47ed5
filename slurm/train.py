"""One rank of a training job: bench/train.py under Slurm.   srun python slurm/train.py --suite imagenet --models fpdm

Ranks find each other through Slurm's environment. The signal before the time limit (--signal=USR2@300) ends training at
the same step everywhere; rank 0 writes the checkpoint and has the job requeued, until the training clock is full.
"""

import os
import subprocess
import sys

from submitit.helpers import TorchDistributedEnvironment

from bench.cli import run
from bench.interrupts import Interrupts, OutOfTimeError
from bench.malloc import restart_with_tuned_malloc


def set_ranks() -> None:
    """Say in torch's words (RANK, WORLD_SIZE, ...) which of a Slurm job's tasks this is."""
    os.environ.setdefault("SUBMITIT_EXECUTOR", "slurm")  # by which submitit knows where it is
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def requeue() -> None:
    """Have this job, or task of an array, started again; its first rank does."""
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    print(f"out of time: everything is saved; job {job} is requeued", file=sys.stderr, flush=True)
    subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)


def main(argv: list[str] | None = None) -> int:
    """The command line of bench/train.py; returns the exit status."""
    interrupts = Interrupts()
    with interrupts.deferred():
        from bench import train

        set_ranks()
        try:
            return train.main(argv, interrupts)
        except OutOfTimeError:
            requeue()
            return 0


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
