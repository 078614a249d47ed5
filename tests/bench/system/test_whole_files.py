"""Files are written whole; what a killed writer left is removed by the next one, and by no one while it is alive."""

import multiprocessing
import os
import signal

import pytest

from bench.system import files
from bench.system.files import write_json, write_whole


def _die_in_the_middle(path):
    def half(file):
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    write_whole(path, half)


def kill_a_writer(path):
    writer = multiprocessing.get_context("fork").Process(target=_die_in_the_middle, args=(path,))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, 1)
    for _ in range(2):  # the second removes what the first left
        kill_a_writer(path)
        assert path.read_text() == "1\n"
    assert len(names(tmp_path)) == 2
    write_json(path, 2)
    assert names(tmp_path) == ["record.json"]
    assert path.read_text() == "2\n"


def test_files_of_others_and_those_being_written_are_left_alone(tmp_path):
    kill_a_writer(tmp_path / "other.json")
    (tmp_path / ".record.json.swp").touch()  # an editor's
    before = names(tmp_path)

    def slowly(file):
        write_json(tmp_path / "record.json", "second")  # meanwhile
        file.write(b"first")

    write_whole(tmp_path / "record.json", slowly)
    assert (tmp_path / "record.json").read_text() == "first"
    assert names(tmp_path) == sorted([*before, "record.json"])


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "record.json", float("nan"))
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "record.json", lambda file: 1 / 0)
    assert names(tmp_path) == []


def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    """And what is left behind stays, since nobody knows whether its writer is alive."""
    kill_a_writer(tmp_path / "record.json")

    def refuse(file, operation):
        raise OSError(95, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    write_json(tmp_path / "record.json", 1)
    assert (tmp_path / "record.json").read_text() == "1\n"
    assert len(names(tmp_path)) == 2


def _die_in_a_trial(folder):
    files.settle = lambda file: os.kill(os.getpid(), signal.SIGKILL)
    files.check_writable(folder, "--results results")


def test_a_trial_removes_what_a_killed_one_left(tmp_path):
    for _ in range(2):
        process = multiprocessing.get_context("fork").Process(target=_die_in_a_trial, args=(tmp_path,))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert len(names(tmp_path)) == 1
    files.check_writable(tmp_path, "--results results")
    assert names(tmp_path) == []


def test_trials_side_by_side_leave_each_other_alone(tmp_path):
    context = multiprocessing.get_context("fork")
    trials = [context.Process(target=_try_often, args=(tmp_path,)) for _ in range(4)]
    for process in trials:
        process.start()
    for process in trials:
        process.join()
        assert process.exitcode == 0
    assert names(tmp_path) == []


def _try_often(folder):
    for _ in range(25):
        files.check_writable(folder, "--results results")
