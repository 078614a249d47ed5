"""Command lines: parsing through tyro; bad input ends with one line and exit status 2."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, TypeVar

import tyro

from bench.system.errors import BadInputError, complaint

Config = TypeVar("Config")
Group = Annotated[Config, tyro.conf.OmitArgPrefixes]  # options of a nested dataclass, under its title in --help


def parse(config: type[Config], argv: list[str] | None) -> Config:
    """Parse the command line into a dataclass. BadInputError gives tyro's complaint in one line."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            return tyro.cli(config, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as exit_:
        if exit_.code == 0:  # --help
            raise
        lines = [line.strip("│╭╮╰╯─ ") for line in output.getvalue().splitlines()[1:]]
        reason = lines[: lines.index("")] if "" in lines else lines
        raise BadInputError(f"{' '.join(reason)} (--help lists the options)") from None


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a main function; the exit status is 2, with one line, for bad input or failing storage, 130 for Ctrl-C."""
    try:
        return main(argv)
    except BrokenPipeError:  # the reader of a pipe has ended, as in `--list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (BadInputError, OSError) as error:
        if (line := complaint(error)) is None:
            raise
        print(line, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
