"""Clocks that wait for the device: seconds of a piece of work, and of training across interruptions."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call, until the device has finished."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def short_median(work: Callable[[], object], device: torch.device, most_s: float = 0.2, repeats: int = 3) -> float:
    """Median wall-clock seconds of a call, over `repeats` calls or as many as begin within `most_s`."""
    found = [seconds_of(work, device)]
    while len(found) < repeats and sum(found) < most_s:
        found.append(seconds_of(work, device))
    return statistics.median(found)


class TrainingClock:
    """Counts seconds inside `running()` only: start-up, checkpoints and evaluation are left out.

    Args:
        device: device to wait for before each reading.
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
