"""What the command lines share: parsing through tyro, and bad input as one line with exit status 2."""

import contextlib
import errno
import io
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from bench.errors import BadInputError

Config = TypeVar("Config")
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def parse(config: type[Config], argv: list[str] | None) -> Config:
    """Parse the command line into a dataclass. BadInputError where tyro finds fault, with its reason in one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(config, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as exit_:
        if exit_.code == 0:  # --help
            raise
        lines = [line.strip("│╭╮╰╯─ ") for line in complaint.getvalue().splitlines()[1:]]
        reason = lines[: lines.index("")] if "" in lines else lines
        raise BadInputError(f"{' '.join(reason)} (--help lists the options)") from None


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a main function; 2 and one line for bad input or storage that gives out, 130 for Ctrl-C."""
    try:
        return main(argv)
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        print(f"error: {error.filename or 'storage'}: {error.strerror}; free space or choose --results", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
