"""Where a number was measured: commit, versions, device. Part of every record."""

import json
import os
import platform
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.system.allocator import VARIABLE
from bench.system.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "snapshot.json"  # where code was copied for a cluster's tasks
PACKAGES = ("torch", "timm", "torch-fidelity", "diffusers", "safetensors", "numpy", "scikit-learn")


def pick_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:N" -> device; BadInputError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"{device.type} is not supported")
        if name == "cuda" and "LOCAL_RANK" in os.environ:  # of several ranks, each has its own
            device = own_gpu("LOCAL_RANK")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"--device {name}: not usable here ({reason}); try auto or cpu") from error
    return device


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def pick_task_device(name: str) -> torch.device:
    """The same for one of several tasks that share a node's GPUs without joining: auto gives each one of its own."""
    if name == "auto" and torch.cuda.device_count() > 1:
        name = str(own_gpu("SLURM_LOCALID"))
    return pick_device(name)


def own_gpu(variable: str) -> torch.device:
    """The GPU of a process whose number on its node stands in an environment variable, of those that it sees."""
    return torch.device("cuda", int(os.environ.get(variable, "0")) % max(torch.cuda.device_count(), 1))


def can_compile(device: torch.device) -> bool:
    """Whether torch's compiler finds what it needs: a C++ compiler for a CPU; on a GPU it brings its own."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++")
    return device.type != "cpu" or any(shutil.which(name) for name in compilers if name)


def usable_cores() -> int:
    """Cores that this process may use: on a cluster, those of its task, whether or not Slurm binds it to them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, int(os.environ.get("SLURM_CPUS_PER_TASK", cores)))


def default_workers(device: torch.device) -> int:
    """One per core on a CPU, up to 8: small networks gain more from cells side by side than from threads. Else 1."""
    return min(usable_cores(), 8) if device.type == "cpu" else 1


def hardware_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's with its usable cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {usable_cores()} cores"


def precisions(device: torch.device) -> tuple[str, ...]:
    """ "fp32", and of "bf16" and "fp16" what the device computes in; on a CPU, what it has instructions for."""
    if device.type == "cuda":
        return ("fp32", "bf16", "fp16") if torch.cuda.get_device_capability(device) >= (8, 0) else ("fp32", "fp16")
    # torch tells this privately only, and by other names in other releases
    told = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return ("fp32", "bf16") if any(ask() for ask in told if ask is not None) else ("fp32",)


@cache
def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def commit() -> dict[str, Any]:
    """Commit of this code, and whether it was changed since; of a snapshot, what it was taken of. None if unknown."""
    if SNAPSHOT.exists():
        return json.loads(SNAPSHOT.read_text())
    status = _git("status", "--porcelain", "--", ".", ":!results")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


@cache
def code_digest() -> str:
    """SHA-256 of what samples are made with: every module of bench and models. Uncommitted changes count."""
    hasher = sha256()
    for path in sorted(path for package in ("bench", "models") for path in (ROOT / package).rglob("*.py")):
        hasher.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return hasher.hexdigest()


@cache
def _software() -> dict[str, Any]:
    return {
        **commit(),
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in PACKAGES},
    }


def describe(device: torch.device) -> dict[str, Any]:
    """The environment of this process. Uncommitted changes in results/ do not count as dirty."""
    hardware: dict[str, Any] = {"device": device.type, "hardware": hardware_name(device), "cpu": _cpu_model()}
    if device.type == "cuda":
        hardware |= {
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        }
    return {**_software(), **hardware, "threads": torch.get_num_threads(), "malloc": os.environ.get(VARIABLE, "")}
