"""The training clock: seconds of training, synchronised with the device, carried across interruptions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class TrainingClock:
    """Runs inside `running()` only, so that start-up, checkpoints and evaluation are off it.

    Args:
        device: synchronised with before each reading.
        elapsed_s: seconds accumulated before, from a checkpoint.
    """

    def __init__(self, device: torch.device, elapsed_s: float = 0.0) -> None:
        self._device, self._before = device, elapsed_s
        self._started: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the seconds of the body."""
        synchronize(self._device)
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self._before = self.read()
            self._started = None

    def read(self) -> float:
        """Seconds so far, work under way on the device included."""
        if self._started is None:
            return self._before
        synchronize(self._device)
        return self._before + time.perf_counter() - self._started
