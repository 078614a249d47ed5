"""What is reported in one line, and what is a defect with a traceback."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system.command_line import run
from bench.system.errors import BadInputError, complaint, naming

ROOT = Path(__file__).parents[3]
OUTAGES = [
    errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EBUSY, errno.EIO, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN,
    errno.EREMOTEIO, errno.EHOSTUNREACH, errno.ECONNRESET,
]  # fmt: skip
LIMITS = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE]
PATHS = [errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EINVAL]


@pytest.mark.parametrize("number", OUTAGES + LIMITS + PATHS, ids=errno.errorcode.get)
def test_an_error_that_names_a_file_is_one_line(number, capsys):
    def fails(_):
        raise OSError(number, os.strerror(number), "/some/file")

    assert run(fails) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: /some/file: {os.strerror(number)}; ")


@pytest.mark.parametrize("number", OUTAGES + LIMITS, ids=errno.errorcode.get)
def test_an_error_of_storage_needs_no_file(number):
    assert complaint(OSError(number, os.strerror(number))).startswith(f"error: storage: {os.strerror(number)}; ")


@pytest.mark.parametrize("number", [errno.EBADF, errno.ECHILD, errno.ESRCH, errno.EINVAL, errno.ENOENT, errno.EPIPE])
def test_other_numbers_without_a_file_are_defects(number):
    assert complaint(OSError(number, os.strerror(number))) is None


def test_errors_without_a_number_are_defects():
    assert complaint(OSError("cannot identify image file")) is None
    assert complaint(TimeoutError()) is None
    assert complaint(RuntimeError("no")) is None
    assert complaint(BadInputError("--x 1: no")) == "error: --x 1: no"


def test_the_advice_fits():
    def advice(number):
        return complaint(OSError(number, "no", "file")).rpartition("; ")[2]

    assert advice(errno.ENOSPC) == "free space or choose another folder (--results, --prepared)"
    assert advice(errno.EMFILE) == "raise the limit of open files (ulimit -n)"
    assert advice(errno.ESTALE) == "run the same command again when it can be used: what is finished is kept"
    assert advice(errno.ELOOP) == "check this path"


def test_names_are_added_where_there_are_none(tmp_path):
    with pytest.raises(IsADirectoryError) as caught, naming("other"):
        (tmp_path).read_bytes()
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(OSError) as caught, naming("other", always=True):
        (tmp_path).read_bytes()
    assert caught.value.filename == "other"
    with pytest.raises(OSError) as caught, naming(tmp_path / "file"):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.filename == str(tmp_path / "file")


class Pipe(io.TextIOWrapper):
    """Standard output that cannot be written."""

    def __init__(self, number):
        super().__init__(io.BytesIO())
        self.number, self.dropped = number, False

    def flush(self):
        if not self.dropped:
            raise OSError(self.number, os.strerror(self.number))

    def fileno(self):
        return 99


def printed_to(output, monkeypatch, main):
    def drop(_, number):
        assert number == 99
        output.dropped = True

    with monkeypatch.context() as patch:
        patch.setattr(os, "dup2", drop)
        patch.setattr(sys, "stdout", output)
        return run(main)


def test_a_reader_of_standard_output_may_end(monkeypatch, capsys):
    output = Pipe(errno.EPIPE)
    assert printed_to(output, monkeypatch, lambda _: 0) == 0
    assert output.dropped
    assert capsys.readouterr().err == ""


def test_a_reader_may_end_before_much_is_written():
    """The write fails, not the flush, and may leave nothing to flush."""
    code = (
        "import sys\nfrom bench.system.command_line import run\n"
        "def main(_):\n    input()\n    sys.stdout.write('x' * 10**6)\n    return 0\nsys.exit(run(main))"
    )
    command = [sys.executable, "-c", code]
    piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **piped) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_standard_output_on_a_full_disk_is_one_line(monkeypatch, capsys):
    output = Pipe(errno.ENOSPC)
    assert printed_to(output, monkeypatch, lambda _: 0) == 2
    assert output.dropped  # otherwise Python would fail once more at exit
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: standard output: No space left on device")


def test_another_broken_pipe_is_a_defect():
    def fails(_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        run(fails)
