"""Which jobs of a suite are under way: submissions on one results folder know of each other's.

results/<suite>/slurm/jobs.json   run names and cell keys -> job, as `squeue` calls it
results/<suite>/slurm/lock        held while a submission is being made
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.system.errors import BadInputError
from bench.system.files import write_json
from bench.system.locks import hold


class NoAnswerError(BadInputError):
    """Slurm does not answer; it may a little later."""


def this_job() -> str:
    """The job that this process is of, as `squeue` calls it.

    Never SLURM_JOB_ID in an array: one of its tasks has the array's own, by which all of them would be meant.
    """
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def live_jobs() -> dict[str, str]:
    """This user's jobs that have not ended, and their states; tasks of an array by `<array>_<task>`.

    Raises:
        NoAnswerError: it does not answer now.
        BadInputError: there is no Slurm to ask.
    """
    if shutil.which("squeue") is None:
        raise BadInputError("--executor slurm: there is no squeue here; run this where jobs are submitted from")
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i|%T"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        complaint = " ".join(result.stderr.split()) if result.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    if complaint:
        raise NoAnswerError(f"--executor slurm: Slurm does not answer ({complaint})")
    return dict(line.split("|") for line in result.stdout.split())


@dataclass
class Ledger:
    """Jobs by what they were submitted for."""

    path: Path
    live: dict[str, str]
    """Jobs that have not ended, when it was opened, and their states."""
    jobs: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator["Ledger"]:
        """The ledger of a suite's folder, with the jobs that are under way; no other submission is made inside."""
        path = folder / "slurm" / "jobs.json"
        with hold(path.parent / "lock", wait=True):
            ledger = cls(path, live_jobs())
            if path.exists():
                ledger.jobs = {name: job for name, job in json.loads(path.read_text()).items() if job in ledger.live}
            yield ledger

    def add(self, names: Iterable[str], job: str) -> None:
        """Note, on disk at once, what a job is for."""
        self.jobs |= dict.fromkeys(names, job)
        write_json(self.path, self.jobs)
