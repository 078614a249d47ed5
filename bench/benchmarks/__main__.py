"""Times the networks, saves the run and compares it with the last one: python -m bench.benchmarks (`make bench`)"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.benchmarks.compare import compare, find_last
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError

FOLDER = "benchmarks"  # in the results folder
SIZES = ("digits", "xl_2")
NOTHING_COLLECTED = 5  # pytest's exit status


@dataclass(frozen=True)
class Arguments:
    """Time one block, one iteration, one training step and sampling runs of DiT and FPDM, eager and compiled.

    Each dtype that the device supports is timed. The run is saved in the results folder.
    """

    sizes: tuple[str, ...] | None = None
    """Networks: digits, xl_2 (the paper's; their training takes over 14 GB), s_2 (against public code only) or tiny (to
    try this command). Default: digits and xl_2; against public code digits and s_2."""
    only: str = ""
    """Time only benchmarks with these words in their names, as pytest's -k: "fp32 and block and not compiled"."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    results: Path = Path("results")
    """Results folder; runs are saved in its folder benchmarks."""
    official_dit: Path | None = None
    """Time only against this checkout of the official DiT (facebookresearch/DiT) on a CPU."""
    released_fpdm: Path | None = None
    """Time only against this checkout of the released FPDM (lukemelas/fixed-point-diffusion-models) on a CPU."""
    rounds: int = 7
    """Rounds against public code."""
    compare: tuple[Path, Path] | None = None
    """Compare these two saved runs, the older one first, and time nothing."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if a benchmark failed."""
    arguments = parse(Arguments, argv)
    if arguments.compare is not None:
        return compare(*arguments.compare)
    if arguments.sizes == ():
        raise BadInputError("--sizes: name at least one")
    if arguments.official_dit or arguments.released_fpdm:
        return _against_public_code(arguments)
    _check(arguments)
    before = saved_runs(arguments.results)
    status = _time(arguments)
    new = next((path for path in saved_runs(arguments.results) if path not in before), None)
    if new is None:
        return status or 1
    if (old := find_last(before, new)) is None:
        print(f"nothing to compare {new.name} with: no earlier run on this hardware has its benchmarks")
        return status
    return compare(old, new) or status


def _against_public_code(arguments: Arguments) -> int:
    from bench.benchmarks.public_code.peers import measure
    from bench.machine.devices import stay_within_cores

    if arguments.rounds < 1:
        raise BadInputError(f"--rounds {arguments.rounds}: must be 1 or more")
    if arguments.device not in ("auto", "cpu"):
        raise BadInputError(f"--device {arguments.device}: public code is timed on a CPU; leave the option out")
    if arguments.only:
        raise BadInputError(f"--only {arguments.only}: not against public code, whose parts are all timed; use --sizes")
    stay_within_cores()
    checkouts = {"dit": arguments.official_dit, "fpdm": arguments.released_fpdm}
    print(measure(checkouts, arguments.results, arguments.sizes or ("digits", "s_2"), arguments.rounds), end="")
    return 0


def saved_runs(results: Path) -> list[Path]:
    """The files of all saved runs in a results folder."""
    return sorted((results / FOLDER).glob("*/[0-9]*_*.json"))


def _check(arguments: Arguments) -> None:
    """BadInputError for an unknown size or a device that is not there."""
    from bench.benchmarks.cases import networks_of
    from bench.machine.devices import pick_device

    device = pick_device(arguments.device)
    for size in arguments.sizes or SIZES:
        networks_of(size, device.type, ())


def _time(arguments: Arguments) -> int:
    """Run pytest and return its exit status. It runs in a new process because it must import what it rewrites first."""
    storage = (arguments.results / FOLDER).absolute()
    options = ["--benchmark-only", "--benchmark-autosave", f"--benchmark-storage=file://{storage}"]
    options += ["--benchmark-columns=median,iqr,rounds", "--benchmark-sort=fullname", "--benchmark-name=short"]
    options += [f"--device={arguments.device}", "-k", arguments.only, "--sizes", *(arguments.sizes or SIZES)]
    options += [
        "-W",
        "default",
        "-W",
        "ignore::DeprecationWarning",
    ]  # a warning of a compiler must not stop a measurement
    command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), *options]
    status = subprocess.run(command, check=False).returncode
    if status == NOTHING_COLLECTED:
        raise BadInputError(f"--only {arguments.only}: it matches no benchmark")
    return status


if __name__ == "__main__":
    sys.exit(run(main))
