"""Two saved benchmark runs as ratios: python bench/benchmarks/compare.py [OLD.json NEW.json]"""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bench.benchmarks.cases import MODES
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError

FOLDER = "benchmarks"  # of the results folder
HARDWARE = ("device", "hardware", "threads", "malloc")  # of the environment: what seconds can be compared within
PRODUCT = "product"  # the part that tells how the machine itself has changed
WORST = 3


@dataclass(frozen=True)
class Arguments:
    """Compare two saved runs of `make bench`: medians of the new one over those of the old one, by benchmark.

    Without files: the last run, and the one before it on the same hardware that has most benchmarks in common with it.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """The old and the new file."""
    any_hardware: bool = False
    """Compare runs of different hardware, threads or malloc, too."""
    results: Path = Path("results")
    """Results folder."""


@dataclass(frozen=True)
class Timing:
    """What was timed and how long it took.

    Attributes:
        twins: size, precision and batch size.
        part, mode: as in `bench.benchmarks.cases.Case`.
        median_s, iqr_s: over the rounds.
    """

    twins: str
    part: str
    mode: str
    median_s: float
    iqr_s: float

    @property
    def name(self) -> str:
        return f"{self.twins}: {self.part}, {self.mode}"


@dataclass(frozen=True)
class Run:
    """A saved run: where it lies, when it ended (ISO, UTC), its environment, its timings by name."""

    path: Path
    ended: str
    environment: dict[str, Any]
    timings: dict[str, Timing]

    @property
    def hardware(self) -> dict[str, Any]:
        return {name: self.environment.get(name) for name in HARDWARE}

    def __str__(self) -> str:
        commit = str(self.environment.get("commit") or "unknown")[:10] + ("+" if self.environment.get("dirty") else "")
        return f"{self.path.name.split('_')[0]} (commit {commit})"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    if len(arguments.runs) not in (0, 2):
        raise BadInputError(f"{len(arguments.runs)} runs given: name two files, or none for the last two")
    if arguments.runs:
        old, new = map(read, arguments.runs)
        check_hardware(old, new, arguments.any_hardware)
    else:
        runs = saved_runs(arguments.results)
        if not runs:
            raise BadInputError(f"{arguments.results / FOLDER}: no saved runs; `make bench` makes one")
        new = runs.pop()
        found = find_last(runs, new, arguments.any_hardware)
        if found is None:
            print(nothing_to_compare_with(new))
            return 0
        old = found
    print("\n".join(comparison(old, new)))
    return 0


def saved_runs(results: Path) -> list[Run]:
    """All runs of a results folder, oldest first. BadInputError where one cannot be read."""
    runs = [read(path) for path in (results / FOLDER).glob("*/[0-9]*_*.json")]
    return sorted(runs, key=lambda run: (run.ended, run.path.name))


def read(path: Path) -> Run:
    """A run from its file. BadInputError if it is missing or something else."""
    try:
        saved = json.loads(path.read_text(encoding="utf8"))
        timings = [_timing(benchmark) for benchmark in saved["benchmarks"]]
        ended, environment = str(saved["datetime"]), dict(saved["machine_info"])
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: not a run of `make bench` ({type(error).__name__}: {error})") from None
    return Run(path, ended, environment, {timing.name: timing for timing in timings})


def _timing(benchmark: dict[str, Any]) -> Timing:
    params, stats = benchmark["params"], benchmark["stats"]
    median_s, iqr_s = float(stats["median"]), float(stats["iqr"])
    if median_s <= 0:
        raise ValueError(f"median of {median_s} s")
    return Timing(params["twins"], params["part"], params["mode"], median_s, iqr_s)


def find_last(runs: Sequence[Run], new: Run, any_hardware: bool = False) -> Run | None:
    """Of the runs, oldest first, the one on the same hardware with most benchmarks in common; the last of several."""
    common = [
        (len(run.timings.keys() & new.timings.keys()), index, run)
        for index, run in enumerate(runs)
        if any_hardware or run.hardware == new.hardware
    ]
    shared, _, found = max(common, key=lambda entry: entry[:2], default=(0, 0, None))
    return found if shared else None


def nothing_to_compare_with(new: Run) -> str:
    """A line for the first run of its kind."""
    return f"nothing to compare run {new} with: no earlier one on {new.hardware['hardware']} has its benchmarks"


def check_hardware(old: Run, new: Run, any_hardware: bool) -> None:
    """BadInputError for runs whose seconds cannot be compared, unless told that they can."""
    pairs = {name: (old.hardware[name], new.hardware[name]) for name in HARDWARE}
    different = [f"{name} ({one} and {other})" for name, (one, other) in pairs.items() if one != other]
    if different and not any_hardware:
        raise BadInputError(f"different {', '.join(different)}: not comparable (--any-hardware compares them)")


def comparison(old: Run, new: Run) -> Iterator[str]:
    """Markdown: a table for each pair of twins, and a summary. BadInputError if the runs have nothing in common."""
    ratios = {name: t.median_s / old.timings[name].median_s for name, t in new.timings.items() if name in old.timings}
    if not ratios:
        raise BadInputError(f"{old.path} and {new.path}: no benchmark in common")
    yield from medians(new, ratios)
    changed = {name: ratio for name, ratio in ratios.items() if new.timings[name].part != PRODUCT} or ratios
    yield f"Run {new} over run {old}: median ratio {statistics.median(changed.values()):.2f} of {len(changed)}."
    worst = sorted(changed, key=changed.__getitem__, reverse=True)[:WORST]
    yield f"Worst: {'; '.join(f'{name} {changed[name]:.2f}' for name in worst)}."
    products = [f"{ratio:.2f}" for name, ratio in ratios.items() if name not in changed]
    if products:
        yield f"A product of two matrices, which only the machine and `networks.linear` change: {', '.join(products)}."
    for one, other in ((old, new), (new, old)):
        if alone := len(one.timings.keys() - other.timings.keys()):
            yield f"Only in run {one}: {alone} benchmarks."


def medians(new: Run, ratios: dict[str, float] | None = None) -> Iterator[str]:
    """Markdown: medians over the rounds with their interquartile range, eager and compiled, and ratios if given."""
    for twins in dict.fromkeys(timing.twins for timing in new.timings.values()):
        timings = {(t.part, t.mode): t for t in new.timings.values() if t.twins == twins}
        modes = [mode for mode in MODES if any(mode == m for _, m in timings)]
        header = [name for mode in modes for name in ([f"{mode}, ms", "new/old"] if ratios else [f"{mode}, ms"])]
        yield f"| {' | '.join([twins, *header])} |"
        yield f"|:--|{'--:|' * len(header)}"
        for part in dict.fromkeys(part for part, _ in timings):
            cells = [part]
            for mode in modes:
                timing = timings.get((part, mode))
                cells.append(f"{_ms(timing.median_s)} ± {_percent(timing)}" if timing else "")
                if ratios:
                    cells.append(f"{ratios[timing.name]:.2f}" if timing and timing.name in ratios else "")
            yield f"| {' | '.join(cells)} |"
        yield ""
    threads = f"{new.environment.get('threads')} threads, torch {new.environment.get('torch')}"
    yield f"On {new.environment.get('hardware')}, {threads}; ± is half the interquartile range over the rounds."


def _ms(seconds: float) -> str:
    ms = 1000 * seconds
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def _percent(timing: Timing) -> str:
    return f"{50 * timing.iqr_s / timing.median_s:.0f}%"


if __name__ == "__main__":
    sys.exit(run(main))
