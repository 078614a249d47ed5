"""Locks between processes, other nodes' on a shared file system included; whoever dies lets go of its own.

They are kernel locks on a file (flock). A killed task leaves none behind. On NFS, Linux passes them to the server.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock inside; the value says whether it was got, which without `wait` another's holding it prevents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
            yield False
            return
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # who held it before has removed it: lock the file that has the name now
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        file.close()
