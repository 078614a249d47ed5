"""The CPU time that a container or a service may use: the quotas of this process's control groups (Linux).

    cgroup v2: cpu.max "150000 100000"                         microseconds of CPU time in each period; "max": no limit
    cgroup v1: cpu.cfs_quota_us 150000, cpu.cfs_period_us 100000                                       -1: no limit

A group is limited by its parents too, up to the mount point.
"""

import re
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")


def quota_cores(proc: Path = PROC) -> int | None:
    """Whole cores that the tightest quota pays for, 0 or more; None without a quota.

    1.5 CPUs are 1 core: two threads would use up the quota after three quarters of each period and then stand still
    until its end, which halves no time and makes every measured second uneven.

    Args:
        proc: the folder with the process's `cgroup` and `mountinfo`.
    """
    return min((cores for folder in _groups(proc) if (cores := _cores(folder)) is not None), default=None)


def _groups(proc: Path) -> Iterator[Path]:
    """Folders of the process's groups that may have a quota, and of their parents."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
        own = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
        mounts = (proc / "mountinfo").read_text().splitlines()
    except (OSError, ValueError):  # not Linux
        return
    for before, _, after in (line.partition(" - ") for line in mounts):
        kind, *_, options = after.split()
        if kind == "cgroup2":
            path = own.get("")
        elif kind == "cgroup" and "cpu" in options.split(","):
            path = next((path for names, path in own.items() if "cpu" in names.split(",")), None)
        else:
            continue
        root, mount = (_unescaped(text) for text in before.split()[3:5])
        if path is not None:
            yield from _up(Path(mount), root, path)


def _up(mount: Path, root: str, path: str) -> Iterator[Path]:
    """From a group to the mount point, which shows the hierarchy from `root` on."""
    inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) and ".." not in path else Path()
    yield from (mount / folder for folder in (inside, *inside.parents))


def _cores(folder: Path) -> int | None:
    try:
        if (limit := folder / "cpu.max").exists():
            quota, period = limit.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _unescaped(text: str) -> str:
    """A path of mountinfo, in which blanks are written as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
