"""Whether torch.compile works on a device, asked by compiling something small.

Names of compilers prove little: $CXX may name one that is not there, and torch takes g++ where $CXX names none, though
only clang is installed. For a GPU torch brings Triton, which needs a C compiler ($CC, gcc or clang) for its launchers.
"""

import warnings
from dataclasses import replace
from functools import cache

import torch

from bench.machine.devices import own_gpu
from bench.machine.execution import Execution

WORTHWHILE_S = 20.0  # of training: compiling takes 10 to 20 seconds


def settled(execution: Execution, device: torch.device, seconds: float | None) -> Execution:
    """The execution of a training, with the choice made whether to compile, if it was left open.

    A CPU compiles trainings by the clock, whose steps then take 0.75 to 0.9 of the time (bench/PERFORMANCE.md). A GPU
    does not, because there it was not measured.

    Args:
        execution: as asked for.
        device: where to train.
        seconds: the training's budget; None if it is a number of steps.
    """
    if execution.compiled is not None:
        return execution
    pays = device.type == "cpu" and seconds is not None and seconds >= WORTHWHILE_S
    return replace(execution, compiled=pays and not why_not_compile(device))


@cache
def why_not_compile(device: torch.device) -> str:
    """Why torch.compile does not work on a device, in one line; empty if it does. Asked once in a process."""
    if device.type == "cuda" and device.index is None:
        device = own_gpu("LOCAL_RANK")  # and not the first one, for each rank
    try:
        with warnings.catch_warnings(action="ignore"):
            # without the cache of graphs: what was compiled when there was a compiler would be found there
            small = torch.compile(lambda x: x.sin() + 1, dynamic=False, options={"fx_graph_cache": False})
            small(torch.zeros(64, device=device))
    except Exception as error:
        return _reason(error)
    return ""


def _reason(error: BaseException) -> str:
    """The line that says most: the compiler's own error, if there is one, or the first line of the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "error:" in line), lines[0])[:200]
