"""Seconds of sampling: images per second at the evaluation batch size, and the latency of one image alone."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.clock import synchronize
from bench.measurements import Speed


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


def measure_speed(cell: Speed, device: torch.device) -> dict[str, Any]:
    """Seconds of the twins' parts (metrics: medians; series: every round)."""
    raise NotImplementedError
