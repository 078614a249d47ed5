"""Devices and cores: their choice, names and capabilities."""

import os
import re

import torch

from bench.machine.cgroups import quota_cores
from bench.machine.processor import processor_name
from bench.system.errors import BadInputError


def pick_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:N" -> device; BadInputError if it is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise BadInputError(f"--device {name}: choose auto, cpu, cuda or cuda:N")
    try:
        device = torch.device(name)
        if name == "cuda" and "LOCAL_RANK" in os.environ:  # each rank has its own GPU
            device = own_gpu("LOCAL_RANK")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"--device {name}: not usable here ({reason}); try auto or cpu") from error
    return device


def pick_task_device(name: str) -> torch.device:
    """As `pick_device`, for independent tasks that share a node's GPUs: "auto" gives each task a GPU of its own."""
    if name == "auto" and torch.cuda.device_count() > 1:
        name = str(own_gpu("SLURM_LOCALID"))
    return pick_device(name)


def own_gpu(variable: str) -> torch.device:
    """The GPU of this process, by its number on the node, which the environment variable holds."""
    return torch.device("cuda", int(os.environ.get(variable, "0")) % max(torch.cuda.device_count(), 1))


def usable_cores() -> int:
    """Cores that this process may use, 1 or more: those it may run on, of its Slurm task, within its container's quota.

    Slurm need not bind a task to its cores, and a quota binds nothing.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores()
    return max(1, min(cores, int(os.environ.get("SLURM_CPUS_PER_TASK", cores)), cores if quota is None else quota))


def stay_within_cores() -> None:
    """Let torch use no more threads than there are usable cores: by itself it takes all cores that it may run on."""
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def default_workers(device: torch.device) -> int:
    """Worker processes: 1 on a GPU; on a CPU one per core, up to 8, as small networks gain little from threads."""
    return min(usable_cores(), 8) if device.type == "cpu" else 1


def hardware_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's with its usable cores. Seconds are compared only where the names are equal."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {usable_cores()} cores"


def supported_dtypes(device: torch.device) -> tuple[str, ...]:
    """ "fp32", and those of "bf16" and "fp16" that the device computes in; a CPU needs instructions for them."""
    if device.type == "cuda":
        return ("fp32", "bf16", "fp16") if torch.cuda.get_device_capability(device) >= (8, 0) else ("fp32", "fp16")
    # torch's functions for this are private, and their names differ between releases
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return ("fp32", "bf16") if any(ask() for ask in asked if ask is not None) else ("fp32",)
