"""Registry of executors, which train and evaluate the missing cells of a grid: on this machine or on a cluster."""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.evaluation.plan import Capacity
from bench.spec.arguments import Places, Running
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.store.records import Store


@dataclass(frozen=True)
class Work:
    """Work on a grid, for an executor.

    Attributes:
        suite: in the requested size.
        store: where weights and records go.
        running: on what and how networks are run.
        places: where results, datasets and the weights of others lie.
        workers: parallel processes; None for as many as suit the device.
        profile: name of the cluster's profile (`slurm/profiles`).
        wait: whether to stay until queued jobs have ended.
        gpu: whether the grid is for a GPU only.
    """

    suite: Suite
    store: Store
    running: Running
    places: Places
    workers: int | None = None
    profile: str = ""
    wait: bool = False
    gpu: bool = False


class Executor(Protocol):
    """Does the work on one machine or cluster.

    Attributes:
        queues: whether work is queued and continues without this process.
    """

    queues: bool

    def __init__(self, work: Work) -> None: ...

    def check(self) -> None:
        """BadInputError if the work cannot be done here."""

    def capacity(self) -> Capacity:
        """How many cells are evaluated in parallel, and on what."""

    def run(self, cells: Sequence[AnyCell]) -> int | None:
        """Train and evaluate what is missing of a grid's cells.

        Returns:
            How many cells failed; None if jobs are still queued or running.
        """


EXECUTORS = {"local": "bench.evaluation.local:Local", "slurm": "slurm.submit:Slurm"}  # "module:class", imported late


def executor(name: str, work: Work) -> Executor:
    """The executor called `name`, one of EXECUTORS."""
    return pkgutil.resolve_name(EXECUTORS[name])(work)
