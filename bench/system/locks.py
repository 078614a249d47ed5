"""Locks between processes, also on different nodes of a shared file system. A lock ends with its process.

They are kernel locks on a file (flock), so a killed task leaves none behind. On NFS, Linux passes them to the server.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.system.errors import BadInputError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_files: set[IO[str]] = set()


def _close_inherited() -> None:
    """Close a forked child's copies of the files, which would keep the parent's locks after its death."""
    for file in list(_files):
        file.close()
    _files.clear()


os.register_at_fork(after_in_child=_close_inherited)


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock inside. Yields whether it is held: without `wait`, False if another process holds it.

    The empty file stays: if it were removed, a node that still sees the old file and a node that makes a new one could
    both hold the lock. BadInputError if the folder's file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        _files.add(file)
        try:
            yield _locked(file, path, wait)
        finally:
            _files.discard(file)


def _locked(file: IO[str], path: Path, wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in _NO_LOCKS:
            path.unlink(missing_ok=True)
            raise BadInputError(
                f"{path.parent}: files cannot be locked there ({error.strerror}); mount it with locks, or choose "
                "another folder"
            ) from error
        raise OSError(error.errno, error.strerror, str(path)) from error
    return True
