"""Faults of storage: inside `fault`, an operation on files of some name fails as the operating system lets it fail."""

import builtins
import errno
import fcntl
import io
import os
import re
from contextlib import contextmanager
from pathlib import Path

import pytest


def no_modes(*_, **__):
    """os.chmod and os.fchmod of a file system that has no modes, such as some of FUSE and SMB."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def path_of(file):
    """The path of what an operation was given: a path, an open file or its number."""
    if hasattr(file, "fileno"):
        file = file.fileno()
    return os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.fsdecode(file)


def refused(command, operation, name, number, capsys, *folders):
    """Run a command whose storage fails as in `fault`.

    It must end with status 2 and one line, which names the file, and leave no temporary file in the folders.
    """
    capsys.readouterr()
    with fault(operation, name, number) as failed:
        assert command() == 2
    complaint = capsys.readouterr().err
    assert failed, "no such operation"
    line = complaint.splitlines()[-1]
    assert complaint.count("error: ") == 1, complaint
    assert line.startswith("error: "), complaint
    assert os.strerror(number) in line
    named = line.removeprefix("error: ").partition(": ")[0]
    assert Path(named).name in failed[0] or failed[0] in named  # a file, its temporary file, or the folder of either
    assert not [path for folder in folders for path in folder.rglob(".*")]


@contextmanager
def fault(operation, name, number):
    """Inside, an operation fails on every file with `name` (a pattern) in its path; yields the paths on which it has.

    Args:
        operation: open, read, write (when it is flushed to the disk), replace, mkdir, list, lock or remove.
        name: pattern of a part of the path; of `replace`, of either path.
        number: of the error. Those of read and write name no file, as in the kernel.
    """
    failed = []

    def failing(module, function, named):
        original = getattr(module, function)

        def fails(file, *rest, **options):
            path = path_of(file)
            if not re.search(name, path) and not (function == "replace" and re.search(name, path_of(rest[0]))):
                return original(file, *rest, **options)
            failed.append(path)
            raise OSError(number, os.strerror(number), *([path] if named else []))

        patch.setattr(module, function, fails)

    with pytest.MonkeyPatch.context() as patch:
        if operation == "open":
            for module in (builtins, io, os):
                failing(module, "open", named=True)
        elif operation == "read":
            failing(Path, "read_bytes", named=False)
        elif operation == "write":
            failing(os, "fsync", named=False)
        elif operation == "lock":
            failing(fcntl, "flock", named=False)
        else:
            functions = {"replace": "replace", "mkdir": "mkdir", "list": "scandir", "remove": "rmdir"}
            failing(os, functions[operation], named=True)
        yield failed
