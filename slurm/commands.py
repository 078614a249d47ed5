"""Slurm's commands, run as if outside of any job.

In a job (an interactive one, a notebook) the environment describes that job. sbatch hands it on, and the new job would
take the other's array, memory and number of tasks for its own.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from submitit.helpers import clean_env

from bench.system.errors import BadInputError

CLUSTER = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}  # which cluster, and how to reach it
BOUND = ("SBATCH_CPU_BIND", "SBATCH_MEM_BIND")  # of a job; other variables of sbatch are the user's defaults
LIMIT = re.compile(r"limit|job array", re.IGNORECASE)  # in a refusal for the number of tasks

Item = TypeVar("Item")


class NoAnswerError(BadInputError):
    """Slurm does not answer at the moment. A later attempt may succeed."""


class RefusedError(BadInputError):
    """Slurm refuses a job. The message is Slurm's reason."""


@contextmanager
def outside_job() -> Iterator[None]:
    """Inside, the environment has no variables of a job; those that name the cluster and the user's defaults stay."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in CLUSTER or (name.startswith("SBATCH_") and not name.startswith(BOUND))
    }
    with clean_env([name for name in os.environ if name.startswith("SQUEUE_")]):
        os.environ.update(kept)
        yield


def ask(*command: str) -> str:
    """What a command of Slurm prints. NoAnswerError if it fails, or takes more than a minute."""
    try:
        with outside_job():
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        complaint = " ".join(result.stderr.split()) or f"status {result.returncode}" if result.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    if complaint:
        raise NoAnswerError(f"Slurm does not answer ({complaint})")
    return result.stdout


def refusal(complaint: str) -> RefusedError:
    """The error for what sbatch wrote to standard error, in one line."""
    lines = (line.removeprefix("sbatch: ").removeprefix("error: ") for line in complaint.splitlines())
    return RefusedError("; ".join(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip())))


def largest_array() -> int:
    """How many tasks a job array of this cluster can have. NoAnswerError if Slurm does not answer."""
    sizes = re.findall(r"\b(?:MaxArraySize\s*=\s*|max_array_tasks=)(\d+)", ask("scontrol", "show", "config"))
    return max(1, min(map(int, sizes), default=1))


def in_parts(
    items: Sequence[Item], submit: Callable[[Sequence[Item]], Sequence[str]]
) -> Iterator[tuple[Sequence[Item], Sequence[str]]]:
    """Submit items as arrays that fit, one after the other; yields the items of each with their jobs once it is queued.

    An array that Slurm refuses for a limit, such as that of a user's jobs, is tried again by halves.

    Args:
        items: tasks of job arrays.
        submit: submits some of them as one array; returns the ids of their jobs.

    Raises:
        RefusedError: Slurm refuses the first of the items that were not yielded.
        NoAnswerError: Slurm does not answer.
    """
    size = largest_array() if len(items) > 1 else 1
    while items:
        part = items[:size]
        try:
            jobs = submit(part)
        except RefusedError as error:
            if len(part) == 1 or not LIMIT.search(str(error)):
                raise
            size = len(part) // 2
            continue
        yield part, jobs
        items = items[len(part) :]
