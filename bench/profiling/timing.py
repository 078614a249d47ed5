"""Seconds of sampling: images per second at the evaluation batch size, and the latency of one image alone."""

import statistics
import time
from collections.abc import Callable

import torch

from bench.training.clock import synchronize


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of one call, device included."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Median wall seconds of `repeats` calls, after one that is not counted."""
    work()
    return statistics.median(seconds_of(work, device) for _ in range(repeats))
