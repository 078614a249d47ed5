"""Command lines: parsing through tyro; bad input ends with one line and exit status 2."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Annotated, TypeVar

import tyro

from bench.system.errors import BadInputError, complaint, naming
from bench.system.malloc import keep_freed_memory
from bench.system.words import complaint as line_of
from bench.system.words import prepared

Config = TypeVar("Config")
Group = Annotated[Config, tyro.conf.OmitArgPrefixes]  # options of a nested dataclass, under its title in --help


def parse(config: type[Config], argv: list[str] | None, first: str = "") -> Config:
    """Parse the command line into a dataclass; words before the first option are values of the option `first`.

    BadInputError gives tyro's complaint in one line.
    """
    output = io.StringIO()
    words = prepared(config, sys.argv[1:] if argv is None else argv, first)
    try:
        with contextlib.redirect_stderr(output):
            return tyro.cli(config, args=words, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as exit_:
        if exit_.code == 0:  # --help
            raise
        raise BadInputError(f"{line_of(output.getvalue(), words)} (--help lists the options)") from None


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a main function; the exit status is 2, with one line, for bad input or failing storage, 130 for Ctrl-C."""
    keep_freed_memory()
    try:
        status = main(argv)
        with naming("standard output"):
            sys.stdout.flush()
        return status
    except (BadInputError, OSError) as error:
        unread = isinstance(error, BrokenPipeError) and _nobody_reads()
        lost = _lost_output()
        if unread or (isinstance(error, BrokenPipeError) and isinstance(lost, BrokenPipeError)):  # `--list | head`
            return 0
        if (line := complaint(error)) is None:
            raise
        print(line, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has closed it. A failed write may leave nothing to flush."""
    output = select.poll()
    try:
        output.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # it is no file
        return False
    return any(event & select.POLLERR for _, event in output.poll(0))


def _lost_output() -> OSError | None:
    """The error if standard output cannot be written. What it holds is dropped then: Python would fail at exit too."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
