"""Provenance of results: commit, versions, device. Part of every record."""

import json
import os
import platform
import subprocess
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.system.allocator import VARIABLE
from bench.system.devices import cpu_model, hardware_name

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "snapshot.json"  # commit of a copy of the code, as made for a cluster's tasks
PACKAGES = ("torch", "timm", "torch-fidelity", "diffusers", "safetensors", "numpy", "scikit-learn")


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


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
    """Commit of this code, and whether files differ from it; a snapshot has its source's. None if unknown."""
    if SNAPSHOT.exists():
        return json.loads(SNAPSHOT.read_text())
    status = _git("status", "--porcelain", "--", ".", ":!results")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


@cache
def code_digest() -> str:
    """SHA-256 of the code that samples depend on: all modules of bench and models, with uncommitted changes."""
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
    hardware: dict[str, Any] = {"device": device.type, "hardware": hardware_name(device), "cpu": cpu_model()}
    if device.type == "cuda":
        hardware |= {
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        }
    return {**_software(), **hardware, "threads": torch.get_num_threads(), "malloc": os.environ.get(VARIABLE, "")}
