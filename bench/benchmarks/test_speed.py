"""Seconds of one block, one iteration, one training step and whole sampling runs, for both twins.

Eager and compiled stand side by side, and beside them the same arithmetic written plainly (`bench.profiling.plain`).
"""

import time

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.benchmarks.cases import Case
from bench.profiling.speed import Part, find_repeats
from bench.training.clock import synchronize

ROUNDS = 10
LONG_S, ROUNDS_OF_LONG = 0.5, 3


class UnitClock:
    """A timer that waits for the device and counts seconds for each of so many units of work."""

    def __init__(self) -> None:
        self.device, self.units = torch.device("cpu"), 1
        self.__name__ = "unit_clock"  # what is saved of a timer

    def __call__(self) -> float:
        synchronize(self.device)
        return time.perf_counter() / self.units


clock = UnitClock()


@pytest.mark.benchmark(timer=clock)
def test_speed(benchmark: BenchmarkFixture, parts: dict[str, Part], case: Case, device: torch.device) -> None:
    """Seconds of one unit of a part: rounds that take long enough to be measured, after warm-up and compilation."""
    benchmark.group = case.group
    part = parts[case.part]
    if case.mode == "eager":
        part = part.eagerly()
    else:
        part.repeat(1)  # compiles
    repeats, call_s = find_repeats(part, device)
    benchmark.extra_info["repeats"] = repeats
    clock.device, clock.units = device, repeats * part.units
    benchmark.pedantic(part.repeat, (repeats,), rounds=ROUNDS if call_s < LONG_S else ROUNDS_OF_LONG)
