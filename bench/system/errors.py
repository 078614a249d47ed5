"""User and storage errors: one line, exit status 2."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_OPEN_FILES = {errno.EMFILE, errno.ENFILE}
_PROCESSES = {errno.EAGAIN, errno.ENOMEM}
_PATH = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY,
    errno.EINVAL,
}  # fmt: skip
_OUTAGE = {
    getattr(errno, name)
    for name in (
        "EIO", "EBUSY", "ENODEV", "ENXIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
        "ENETUNREACH", "ENETRESET", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ENOTCONN", "ESHUTDOWN", "ENOLINK",
        "ECOMM", "EPROTO", "EBADMSG", "ENOMEDIUM", "EUCLEAN", "ETXTBSY", "ENOLCK", "ENOSYS", "EOPNOTSUPP",
    )
    if hasattr(errno, name)
}  # fmt: skip
_ADVICE = (
    (_SPACE, "free space or choose another folder (--results, --prepared)"),
    (_REFUSED, "it may not be read or written: change that, or choose another folder (--results, --prepared, --out)"),
    (_OPEN_FILES, "raise the limit of open files (ulimit -n)"),
    (_PROCESSES, "free memory, or run fewer processes"),
    (_PATH, "check this path"),
)
_AGAIN = "run the same command again when it can be used: what is finished is kept"


class BadInputError(Exception):
    """The user's input cannot be used. The message names the value and what would be right, in one line."""


def complaint(error: BaseException) -> str | None:
    """The line that reports bad input or a failure of the machine; None for a defect of the harness.

    The machine has failed if the operating system's error names a file, or if its number is of storage, the network or
    a limit. Other numbers without a file (EBADF, ECHILD, ...), and an OSError without a number, are defects.
    """
    if isinstance(error, BadInputError):
        return f"error: {error}"
    if not isinstance(error, OSError) or error.errno is None:
        return None
    known = _SPACE | _REFUSED | _OPEN_FILES | _PROCESSES | _OUTAGE
    if error.filename is None and error.errno not in known:
        return None
    where = "storage" if error.filename is None else error.filename
    where = os.fsdecode(where) if isinstance(where, bytes) else where
    advice = next((text for numbers, text in _ADVICE if error.errno in numbers), _AGAIN)
    return f"error: {where}: {' '.join((error.strerror or str(error)).split())}; {advice}"


def first_few(names: Sequence[object], count: int = 3) -> str:
    """The first names of a list, for a message, and "..." if there are more."""
    return ", ".join(map(str, names[:count])) + ", ..." * (len(names) > count)


@contextmanager
def naming(path: Path | str, always: bool = False) -> Iterator[None]:
    """Inside, errors of the operating system that name no file name this one: those of reading and writing do not.

    Args:
        path: the file.
        always: name it instead of another file, too.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and (always or error.filename is None):
            error.filename, error.filename2 = str(path), None
        raise
