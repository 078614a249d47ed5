"""Times one block, one iteration, one training step and whole sampling runs of DiT and FPDM.

Each is timed eager and compiled. The networks of `bench.profiling.plain_networks` are timed for comparison.
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
    """A timer that waits for the device and returns seconds divided by the number of units of work."""

    def __init__(self) -> None:
        self.device, self.units = torch.device("cpu"), 1
        self.__name__ = "unit_clock"  # pytest-benchmark saves the name of the timer

    def __call__(self) -> float:
        synchronize(self.device)
        return time.perf_counter() / self.units


clock = UnitClock()


@pytest.mark.benchmark(timer=clock)
def test_speed(benchmark: BenchmarkFixture, parts: dict[str, Part], case: Case, device: torch.device) -> None:
    """Time one unit of a part, after warm-up and compilation. A round repeats the part to be long enough to time."""
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
