"""The ledger of a suite's jobs: several submissions into one results folder see each other's jobs.

results/<suite>/slurm/jobs.json   names of training runs and keys of cells -> id of their job, as in `squeue`
results/<suite>/slurm/lock        locked while a submission is made
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.system.errors import BadInputError
from bench.system.files import write_json
from bench.system.locks import hold
from slurm.commands import ask


def this_job() -> str:
    """Id of the job that runs this process, as in `squeue`.

    Not SLURM_JOB_ID in an array: for one task it equals the array's id, which addresses all tasks of the array.
    """
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def live_jobs() -> dict[str, str]:
    """States of this user's jobs that have not ended, by id; a task of an array has the id `<array>_<task>`.

    Raises:
        NoAnswerError: Slurm does not answer at the moment.
        BadInputError: this machine lacks a command of Slurm.
    """
    if missing := [name for name in ("squeue", "sbatch", "srun", "scontrol") if shutil.which(name) is None]:
        raise BadInputError(f"--executor slurm: this machine has no {missing[0]}; run this where jobs are submitted")
    found = ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T")
    return dict(word.split("|") for word in found.split() if "|" in word)  # a line may name the cluster


@dataclass
class Ledger:
    """Which job was submitted for which training run or cell.

    Attributes:
        path: the file.
        live: states, by id, of the user's jobs that had not ended when the ledger was opened.
        jobs: ids of those jobs, by run name or cell key.
    """

    path: Path
    live: dict[str, str]
    jobs: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator["Ledger"]:
        """Open the ledger of a suite's folder, without jobs that have ended. Other submissions wait for its end."""
        path = folder / "slurm" / "jobs.json"
        if not path.parent.exists():
            live_jobs()  # where there is no Slurm, it fails before the first file is written
        with hold(path.parent / "lock", wait=True):
            ledger = cls(path, live_jobs())
            if path.exists():
                ledger.jobs = {name: job for name, job in json.loads(path.read_text()).items() if job in ledger.live}
            yield ledger

    def add(self, jobs: Mapping[str, str]) -> None:
        """Write down, on disk at once, the jobs that work for runs and cells, by run name or cell key."""
        self.jobs |= jobs
        write_json(self.path, self.jobs)
