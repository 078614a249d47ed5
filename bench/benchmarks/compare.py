"""Compares two saved runs by `pytest-benchmark compare --between median,iqr`, which lacks three things, kept here.

- It compares runs of different hardware, although seconds of two processors say nothing about the code: refused here.
- It takes the last run as the old one, even if that timed a single benchmark: `find_last` takes the most similar run.
- It prints an error for each group that only one run has: only the benchmarks of both runs are passed to it.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.system.errors import BadInputError

HARDWARE = ("device", "hardware", "threads", "malloc")  # the parts of the environment that must be equal
COMMAND = "-m pytest_benchmark compare --between=median,iqr --sort=fullname --name=short prev.json this.json"


def read(path: Path) -> dict[str, Any]:
    """A saved run: its benchmarks by name, and its hardware. BadInputError if the file is missing or not a run."""
    try:
        saved = json.loads(path.read_text(encoding="utf8"))
        named = {benchmark["fullname"]: benchmark for benchmark in saved["benchmarks"]}
        hardware = {name: saved["machine_info"].get(name) for name in HARDWARE}
        return {"path": path, "ended": str(saved["datetime"]), "named": named, "hardware": hardware}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not a saved run of `make bench` ({type(error).__name__}: {error})") from None


def find_last(paths: Iterable[Path], new: Path) -> Path | None:
    """The run on the hardware of `new` with most benchmarks in common, the last of several; None if there is none."""
    wanted = read(new)
    alike = [saved for saved in map(read, paths) if saved["hardware"] == wanted["hardware"]]
    common = [(len(saved["named"].keys() & wanted["named"]), saved["ended"], saved["path"]) for saved in alike]
    return max(common)[2] if common and max(common)[0] else None


def compare(old: Path, new: Path) -> int:
    """Print how the medians changed; returns the exit status. BadInputError for runs that cannot be compared."""
    before, now = read(old), read(new)
    pairs = {name: (before["hardware"][name], now["hardware"][name]) for name in HARDWARE}
    if different := [f"{name} ({one} and {other})" for name, (one, other) in pairs.items() if one != other]:
        raise BadInputError(f"{old} and {new} have different {', '.join(different)}: compare runs of the same hardware")
    if not (common := before["named"].keys() & now["named"]):
        raise BadInputError(f"{old} and {new} have no benchmark in common: choose two others")
    with TemporaryDirectory() as folder:  # pytest-benchmark takes the heads of columns from file names
        for name, saved in (("prev", before), ("this", now)):
            benchmarks = [benchmark for key, benchmark in saved["named"].items() if key in common]
            Path(folder, f"{name}.json").write_text(json.dumps({"benchmarks": benchmarks}), encoding="utf8")
        print(f"\nprev: {old.name}\nthis: {new.name}", flush=True)
        return subprocess.run([sys.executable, *COMMAND.split()], cwd=folder, check=False).returncode
