"""What two folders of results and prepared files differ in, and what should not be in them at all."""

import csv
import fcntl
import json
from fnmatch import fnmatch

TIMES = {  # what also differs between two undisturbed runs: these values of JSON files, these columns of tables
    "*/records/*.json": ("finished_at", "timing"),
    "*/training/*.json": ("elapsed_s", "off_clock_s"),
    "*/training/*.jsonl": ("elapsed_s",),
    "*/checkpoints/*/meta.json": ("elapsed_s", "extra.off_clock_s"),
    "*/checkpoints/*/config.json": ("training.seconds",),
    "*/tables/smoothing.csv": ("images_per_s", "latency_s"),
    "*/records.csv": ("seconds", "images_per_s", "latency_s", "finished_at"),
}
SHOW_TIMES = (  # files that are drawn from times and peak memory: they only have to be there
    "*/tables/smoothing.md", "*/tables/smoothing.tex", "*/tables/smoothing_best.md", "*/tables/smoothing_best.tex",
    "*/figures/training_loss.png", "*/figures/training_loss.pdf", "*/report.html",
)  # fmt: skip


def files(root):
    """Relative paths of all files, and of folders without any; locks, which are empty files, aside."""
    found = [path for path in root.rglob("*") if path.is_file() or not any(path.iterdir())]
    return {str(path.relative_to(root)): path for path in found if not is_lock(path)}


def is_lock(path):
    return path.name == "lock" or path.suffix == ".lock"


def differences(root, whole):
    """Lines that say what a folder has too much, too little or otherwise than the folder of an undisturbed run."""
    found, expected = files(root), files(whole)
    lines = [f"left behind: {name}" for name in sorted(found.keys() - expected.keys())]
    lines += [f"lost: {name}" for name in sorted(expected.keys() - found.keys())]
    for name in sorted(found.keys() & expected.keys()):
        if found[name].is_file() and not any(fnmatch(name, pattern) for pattern in SHOW_TIMES):
            times = times_of(name)
            if content(found[name], times) != content(expected[name], times):
                lines.append(f"differs: {name}")
    return lines + [f"held, or not empty: {path}" for path in root.rglob("*") if is_lock(path) and not is_free(path)]


def times_of(name):
    """The values that may differ in a file."""
    return next((times for pattern, times in TIMES.items() if fnmatch(name, pattern)), ())


def content(path, times):
    """The bytes of a file; of one with times, its values without them."""
    if not times:
        return path.read_bytes()
    text = path.read_text()
    if path.suffix == ".csv":
        values = list(csv.DictReader(text.splitlines()))
    else:
        values = [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]
    for value in values:
        for name in times:
            *parents, last = name.split(".")
            inner = value
            for parent in parents:
                inner = inner[parent]
            del inner[last]
    return values


def is_free(path):
    """Whether a lock is an empty file that nobody holds."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return path.stat().st_size == 0
