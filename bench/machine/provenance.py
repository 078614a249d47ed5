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

from bench.machine.devices import hardware_name
from bench.machine.processor import processor
from bench.system.malloc import malloc_setting

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = "snapshot.json"  # commit and digest of a copy of the code, as made for a cluster's tasks
PACKAGES = ("torch", "timm", "torch-fidelity", "diffusers", "safetensors", "numpy", "scikit-learn")
_ELSEWHERE = (  # variables that name another repository than the folder's: git sets them for its hooks
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
)
_UNKNOWN: dict[str, Any] = {"commit": None, "dirty": None}


def git(root: Path, *arguments: str) -> str | None:
    """What git prints in a folder; None if it fails or is not there.

    A folder of another owner is trusted: its code is running already. No lock of the user's repository is taken.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={root}", *arguments]
    try:
        result = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return os.fsdecode(result.stdout).strip()


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
    """Commit of this code, and whether it differs from it, as of the first call: `commit_of`."""
    return commit_of(ROOT)


def commit_of(root: Path) -> dict[str, Any]:
    """Commit of the code in a folder, and whether it is dirty; None, None where the code has no commit of its own.

    It has one if the folder is a repository whose commit has this module, or a cluster's copy of one. An outer
    repository's commit says nothing about the code. Dirty is what changes the code: a change of a tracked file, results
    excepted, or an untracked module in a package. Other files that lie there, such as data, do not count.
    """
    found = (git(root, "rev-parse", "--show-toplevel", "HEAD", "HEAD:bench/machine/provenance.py") or "").splitlines()
    if len(found) != 3 or not os.path.samefile(found[0], root):
        return _commit_of_copy(root)
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    packages = (f"{package}/*.py" for package in ("bench", "models", "paper_figures", "slurm"))
    added = git(root, "ls-files", "--others", "--", *packages)  # ignored ones too: Python imports them
    return {"commit": found[1], "dirty": None if changed is None or added is None else bool(changed or added)}


def _commit_of_copy(root: Path) -> dict[str, Any]:
    """What a copy's stamp says; dirty too, if the copy is not of the code that was stamped."""
    try:
        stamp = json.loads((root / SNAPSHOT).read_text())
        same = stamp["code_digest"] == digest_of(root)
        return {"commit": stamp["commit"], "dirty": stamp["dirty"] if same or stamp["commit"] is None else True}
    except (OSError, ValueError, KeyError, TypeError):
        return _UNKNOWN


@cache
def code_digest() -> str:
    """SHA-256 of the code that samples depend on, as of the first call: `digest_of`."""
    return digest_of(ROOT)


def digest_of(root: Path) -> str:
    """SHA-256 of all modules of bench and models in a folder, with uncommitted changes."""
    hasher = sha256()
    for path in sorted(path for package in ("bench", "models") for path in (root / package).rglob("*.py")):
        hasher.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return hasher.hexdigest()


@cache
def software() -> dict[str, Any]:
    """Versions, as of the first call: ask before the work, during which files may change.

    The digest is always beside the commit: it tells which commits have equal code, and whether dirty code was equal.
    """
    return {
        **commit(),
        "code_digest": code_digest(),
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in PACKAGES},
    }


def describe(device: torch.device) -> dict[str, Any]:
    """The environment of this process."""
    hardware: dict[str, Any] = {"device": device.type, "hardware": hardware_name(device)}
    hardware |= {"cpu": processor()["name"], "processor": processor()}
    if device.type == "cuda":
        hardware |= {
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        }
    return {**software(), **hardware, "threads": torch.get_num_threads(), "malloc": malloc_setting()}
