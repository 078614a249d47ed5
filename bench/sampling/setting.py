"""The settings of an evaluation (device, store, folders, execution), passed from a command to its workers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.machine.execution import EAGER, Execution
from bench.spec.arguments import Places
from bench.store.records import Store


def never() -> bool:
    """Never ask to stop."""
    return False


@dataclass(frozen=True)
class Setting:
    """Setting of an evaluation.

    Attributes:
        store: where checkpoints are and records go.
        device: where networks run.
        workers: processes that evaluate cells in parallel.
        execution: how networks are run.
        places: where datasets are, and a latent suite's autoencoder, reference statistics and extractor.
        since: UTC in ISO 8601; a record from then on was just written by another process, and is not replaced.
        stopping: asked between batches whether to stop.
    """

    store: Store
    device: torch.device
    workers: int = 1
    execution: Execution = EAGER
    places: Places = Places()
    since: str = ""
    stopping: Callable[[], bool] = never
