"""Time the twins, save the run and compare it with the last one: python -m bench.benchmarks (`make bench`)"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.benchmarks.compare import FOLDER, comparison, find_last, medians, nothing_to_compare_with, saved_runs
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError

NOTHING_COLLECTED = 5  # pytest's exit status


@dataclass(frozen=True)
class Arguments:
    """Time one block, one iteration, one training step and sampling runs of both twins, eager and compiled.

    In each precision that the device has. The run is saved in the results folder.
    """

    sizes: tuple[str, ...] = ("digits", "xl_2")
    """Twins: digits, xl_2 (the paper's; training them takes over 14 GB) or tiny (to try this out)."""
    only: str = ""
    """Part of it, as pytest's -k: words of names such as "fp32-block-eager", with and, or, not."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    results: Path = Path("results")
    """Results folder; runs lie in its folder benchmarks."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if a benchmark failed."""
    arguments = parse(Arguments, argv)
    _check(arguments)
    before = saved_runs(arguments.results)
    status = _time(arguments)
    known = {earlier.path for earlier in before}
    new = next((saved for saved in saved_runs(arguments.results) if saved.path not in known), None)
    if new is None:
        return status or 1
    print()
    if (old := find_last(before, new)) is None:
        print("\n".join(medians(new)), nothing_to_compare_with(new), sep="\n")
    else:
        print("\n".join(comparison(old, new)))
    print(f"saved as {new.path} ({new.path.stat().st_size / 1000:.0f} kB)")
    return status


def _check(arguments: Arguments) -> None:
    """BadInputError for an unknown size or a device that is not there."""
    from bench.benchmarks.cases import twins_of
    from bench.system.environment import pick_device

    device = pick_device(arguments.device)
    for size in arguments.sizes:
        twins_of(size, device.type, ())
    if not arguments.sizes:
        raise BadInputError("--sizes: none given")


def _time(arguments: Arguments) -> int:
    """Run pytest, in a process of its own: it wants to be the first to import what it rewrites. Its exit status."""
    storage = (arguments.results / FOLDER).absolute()
    options = ["--benchmark-only", "--benchmark-quiet", "--benchmark-autosave", f"--benchmark-storage=file://{storage}"]
    options += [f"--device={arguments.device}", "-k", arguments.only, "--sizes", *arguments.sizes]
    options += ["-W", "default", "-W", "ignore::DeprecationWarning"]  # a compiler's advice stops no measurement
    command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), *options]
    status = subprocess.run(command, check=False).returncode
    if status == NOTHING_COLLECTED:
        raise BadInputError(f"--only {arguments.only}: no benchmark's name matches")
    return status


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
