"""Options, the device, the environment that is saved with the results, and the twins, a pair at a time."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.benchmarks.cases import cases, twins_of
from bench.profiling.speed import Part, Twins
from bench.spec.measurements import Speed
from bench.system.environment import can_compile, describe, pick_device, precisions


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `python -m bench.benchmarks`."""
    parser.addoption("--sizes", nargs="+", default=["digits", "xl_2"], help="twins: digits, xl_2, tiny")
    parser.addoption("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Save the environment as records have it, and not the machine's name in its network."""
    del machine_info["node"]
    machine_info.update(describe(pick_device(config.getoption("--device"))))


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Save what was timed in words, and how long it took, and no more."""
    for benchmark in output_json["benchmarks"]:
        params = benchmark["params"]
        cell, case = params.get("parts"), params["case"]
        benchmark["params"] = {"twins": case.twins, "part": case.part, "mode": case.mode}
        if cell is not None:
            benchmark["params"]["cell"] = cell.key
        del benchmark["options"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A benchmark for each part of each pair of twins in each mode."""
    if "parts" not in metafunc.fixturenames:
        return
    device = pick_device(metafunc.config.getoption("--device"))
    found = [
        pytest.param(cell, case, id=f"{cell.size}-{cell.precision}-{case.part}-{case.mode}")
        for size in metafunc.config.getoption("--sizes")
        for cell in twins_of(size, device.type, precisions(device), can_compile(device))
        for case in cases(cell)
    ]
    metafunc.parametrize(("parts", "case"), found, indirect=["parts"], scope="module")


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where everything is timed."""
    return pick_device(request.config.getoption("--device"))


@pytest.fixture(scope="module")
def parts(request: pytest.FixtureRequest, device: torch.device) -> Iterator[dict[str, Part]]:
    """All that is timed of one pair of twins; freed before the next pair is built."""
    cell: Speed = request.param
    twins = Twins(cell, device)
    parts = twins.parts() | twins.stacks() | twins.plain_parts() | twins.runs()
    yield parts
    parts.clear()
    del twins
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
