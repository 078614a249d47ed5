"""Options and fixtures of the benchmarks, and hooks that choose what is saved with their results."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.benchmarks.cases import cases, networks_of
from bench.machine.compiler import why_not_compile
from bench.machine.devices import pick_device, supported_dtypes
from bench.machine.provenance import describe
from bench.profiling.speed import Networks, Part
from bench.spec.measurements import Speed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `python -m bench.benchmarks` passes on."""
    parser.addoption("--sizes", nargs="+", default=["digits", "xl_2"], help="networks: digits, xl_2, tiny")
    parser.addoption("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Save the same environment as records do. Leave out the host name."""
    del machine_info["node"]
    machine_info.update(describe(pick_device(config.getoption("--device"))))


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Replace objects among the parameters by text and leave out pytest-benchmark's options, to keep files small."""
    for benchmark in output_json["benchmarks"]:
        params = benchmark["params"]
        cell, case = params.get("parts"), params["case"]
        benchmark["params"] = {"twins": case.twins, "part": case.part, "mode": case.mode}
        if cell is not None:
            benchmark["params"]["cell"] = cell.key
        del benchmark["options"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a benchmark for each part, mode, dtype and size."""
    if "parts" not in metafunc.fixturenames:
        return
    device = pick_device(metafunc.config.getoption("--device"))
    found = [
        pytest.param(cell, case, id=f"{cell.size}-{cell.dtype}-{case.part}-{case.mode}")
        for size in metafunc.config.getoption("--sizes")
        for cell in networks_of(size, device.type, supported_dtypes(device), not why_not_compile(device))
        for case in cases(cell)
    ]
    metafunc.parametrize(("parts", "case"), found, indirect=["parts"], scope="module")


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device that runs the benchmarks."""
    return pick_device(request.config.getoption("--device"))


@pytest.fixture(scope="module")
def parts(request: pytest.FixtureRequest, device: torch.device) -> Iterator[dict[str, Part]]:
    """The timed parts of a cell's networks, which are freed before the next ones are built."""
    cell: Speed = request.param
    networks = Networks(cell, device)
    parts = networks.parts() | networks.stacks() | networks.plain_parts() | networks.runs()
    yield parts
    parts.clear()
    del networks
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
