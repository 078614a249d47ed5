"""Locks between processes, other nodes' on a shared file system included; whoever dies lets go of its own.

They are kernel locks on a file (flock). A killed task leaves none behind. On NFS, Linux passes them to the server.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.errors import BadInputError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_files: set[IO[str]] = set()


def _close_inherited() -> None:
    """A forked child's copies would keep its parent's locks after the parent's death."""
    for file in list(_files):
        file.close()
    _files.clear()


os.register_at_fork(after_in_child=_close_inherited)


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock inside; the value says whether it was got, which without `wait` another's holding it prevents.

    BadInputError if the folder's file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("w")
        _files.add(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            _close(file)
            if error.errno in _NO_LOCKS:
                path.unlink(missing_ok=True)
                raise BadInputError(
                    f"{path.parent}: files cannot be locked there ({error.strerror}); mount it with locks, or choose "
                    "another folder"
                ) from error
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
            yield False
            return
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        _close(file)  # who held it before has removed it: lock the file that has the name now
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        _close(file)


def _close(file: IO[str]) -> None:
    file.close()
    _files.discard(file)
