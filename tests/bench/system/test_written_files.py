"""Files are whole or not there, on file systems that refuse what is cosmetic, and are named where storage fails."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from faults import fault

from bench.system.errors import BadInputError
from bench.system.files import check_writable, read_bytes, read_if_there, write_json, write_text, write_whole


def refused(number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EROFS])
def test_a_file_system_may_refuse_modes(number, tmp_path, monkeypatch):
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refused(number))
    write_text(tmp_path / "new" / "file", "é")
    assert read_bytes(tmp_path / "new" / "file") == "é".encode()
    check_writable(tmp_path, "--results here")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_may_refuse_to_sync(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refused(number))
    write_text(tmp_path / "file", "content")
    assert read_bytes(tmp_path / "file") == b"content"


def test_files_can_be_read_by_all(tmp_path):
    write_json(tmp_path / "file", {"b": 1, "a": [2]})
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("operation", ["open", "write", "replace", "mkdir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EBUSY], ids=errno.errorcode.get)
def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(operation, number, tmp_path):
    path = tmp_path / ("missing" if operation == "mkdir" else ".") / "file.json"
    if operation != "mkdir":
        path.write_text("old")
    with fault(operation, "missing" if operation == "mkdir" else "file.json", number), pytest.raises(OSError) as caught:
        write_text(path, "new")
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert [p.name for p in tmp_path.iterdir()] == ([] if operation == "mkdir" else ["file.json"])
    assert operation == "mkdir" or path.read_text() == "old"


def test_what_is_half_written_is_removed_whatever_stopped_it(tmp_path):
    def interrupted(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", interrupted)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_none_and_one_that_cannot_be_read_is_named(tmp_path):
    assert read_if_there(tmp_path / "file") is None
    (tmp_path / "file").write_text("content")
    assert read_if_there(tmp_path / "file" / "below") is None
    assert read_if_there(tmp_path / "file") == b"content"
    with fault("read", "file", errno.ESTALE), pytest.raises(OSError) as caught:
        read_if_there(tmp_path / "file")
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("operation", "name"),
    [("open", "new/.file"), ("write", ""), ("replace", ""), ("mkdir", ""), ("lock", ""), ("remove", "")],
)
def test_everything_that_saving_uses_is_tried_before_the_work(operation, name, tmp_path):
    """And nothing is left of it, but for what cannot be removed."""
    wanted = tmp_path / "results" / "digits"
    with fault(operation, name, errno.EBUSY), pytest.raises(BadInputError, match=r"cannot write there .Device or "):
        check_writable(wanted, "--results results")
    if operation == "remove":
        (left,) = tmp_path.iterdir()
        shutil.rmtree(left)
    assert not list(tmp_path.iterdir())
    check_writable(wanted, "--results results")
    assert not list(tmp_path.iterdir())


def test_folders_are_renamed_too(tmp_path, monkeypatch):
    """Where only files can be, as in object stores, a checkpoint could not be put in its place."""
    replace = os.replace

    def files_only(source, target):
        if Path(source).is_dir():
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", files_only)
    with pytest.raises(BadInputError, match=r"^--prepared p: cannot write there .Operation not supported.; name anoth"):
        check_writable(tmp_path, "--prepared p")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_locks_is_told_by_its_own_name(tmp_path):
    with fault("lock", "", errno.ENOLCK), pytest.raises(BadInputError, match=rf"^{tmp_path}: files cannot be locked"):
        check_writable(tmp_path / "results", "--results results")
    assert not list(tmp_path.iterdir())
