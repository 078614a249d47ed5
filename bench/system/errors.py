"""User and storage errors: one line, exit status 2."""

import errno

_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


class BadInputError(Exception):
    """The user's input cannot be used. The message names the value and what would be right, in one line."""


def complaint(error: BaseException) -> str | None:
    """The line that reports bad input or failing storage; None for a defect of the harness."""
    if isinstance(error, BadInputError):
        return f"error: {error}"
    if isinstance(error, OSError) and error.errno in _STORAGE:
        advice = "free space or choose another folder (--results, --prepared)"
        return f"error: {error.filename or 'storage'}: {error.strerror}; {advice}"
    return None
