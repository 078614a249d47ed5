"""Files that are written whole: a temporary file is renamed into place. Errors of storage name the file."""

import errno
import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any

from bench.system.errors import BadInputError, naming
from bench.system.locks import hold

_NOT_SYNCED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # the file system writes when it likes
_TRIAL = ".fpdm-trial-"  # beginning of the names of folders for trials of writing


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that readers, other tasks on NFS included, see all of it or nothing. OSError names the file."""
    with naming(path, always=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(path.parent, f".{path.name}.")
        descriptor, temporary = _temporary(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
                file.flush()
                settle(file)
                os.replace(temporary, path)  # while it is locked
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _temporary(path: Path) -> tuple[int, str]:
    """Descriptor and name of a new temporary file for `path`. It is locked while it is open: its writer is alive."""
    while True:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        if _marked(descriptor, temporary):
            return descriptor, temporary


def _marked(descriptor: int, path: str) -> bool:
    """Lock a new file or folder, while its process lives. False, and closed, if another removed it just before."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if os.path.exists(path):
        return True
    os.close(descriptor)
    return False


def _remove_left_behind(folder: Path, beginning: str) -> None:
    """Remove temporary files and folders with this beginning of their names whose processes were killed."""
    for path in folder.glob(f"{glob.escape(beginning)}????????"):
        with suppress(OSError):  # its process is alive, or another process removed it
            descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(descriptor)


def settle(file: IO[bytes]) -> None:
    """Let everybody read a new file, and wait until it is on the disk, as far as its file system can do either."""
    with suppress(OSError):  # FUSE and SMB may refuse modes, which are cosmetic
        os.fchmod(file.fileno(), 0o644)
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes whole."""
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write text whole, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_bytes(path: Path) -> bytes:
    """The content of a file. OSError names it, also if reading fails after opening."""
    with naming(path):
        return path.read_bytes()


def read_if_there(path: Path) -> bytes | None:
    """The content of a file, None if there is none. OSError, naming it, if that cannot be known."""
    try:
        return read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content. OSError names the file."""
    with naming(path), path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _trial_folder(folder: Path) -> tuple[int, Path]:
    """Descriptor and path of a new folder for trials. It is locked while it is open, as a temporary file is."""
    while True:
        trial = tempfile.mkdtemp(dir=folder, prefix=_TRIAL)
        with suppress(FileNotFoundError):  # another process took it for left behind before it was opened
            descriptor = os.open(trial, os.O_RDONLY)
            if _marked(descriptor, trial):
                return descriptor, Path(trial)


def check_writable(folder: Path, option: str) -> None:
    """Try, before the work, all that saving will use: files and folders are made, renamed, locked and removed.

    Args:
        folder: where to write; if it is missing, the trial is made in the parent that exists. Nothing is left there.
        option: names the folder in the message, as "--results results".

    Raises:
        BadInputError: one of these fails.
    """
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
        _remove_left_behind(folder, _TRIAL)
        alive, trial = _trial_folder(folder)
        try:
            for content in ("first", "over the first"):
                write_text(trial / "new" / "file", content)
            os.replace(trial / "new", trial / "renamed")
            with hold(trial / "lock"):
                pass
        except BadInputError as error:  # no locks
            raise BadInputError(str(error).replace(str(trial), str(folder))) from error
        finally:
            shutil.rmtree(trial)
            os.close(alive)
    except OSError as error:
        raise BadInputError(f"{option}: cannot write there ({error.strerror or error}); name another folder") from error


def utc_now() -> str:
    """The current time for records: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
