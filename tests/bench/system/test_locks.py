"""Locks between processes: kept while held, let go of by whoever dies, and refused where there are none."""

import errno
import multiprocessing
import time

import pytest

from bench.system.errors import BadInputError
from bench.system.locks import hold


def _hold_for(path, seconds):
    with hold(path) as held:
        assert held
        time.sleep(seconds)


def test_a_lock_keeps_others_out_while_it_is_held(tmp_path):
    path = tmp_path / "locks" / "one.lock"
    with hold(path) as held, hold(path) as other:
        assert held
        assert not other
    path.unlink()
    context = multiprocessing.get_context("fork")
    holder = context.Process(target=_hold_for, args=(path, 1.0))
    holder.start()
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    with hold(path) as held:
        assert not held
    with hold(path, wait=True) as held:
        assert held
        with hold(path) as other:
            assert not other
    holder.join()
    assert holder.exitcode == 0


def test_a_holder_that_is_killed_lets_go(tmp_path):
    path = tmp_path / "one.lock"
    holder = multiprocessing.get_context("fork").Process(target=_hold_for, args=(path, 60.0))
    holder.start()
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    holder.kill()
    holder.join()
    with hold(path) as held:
        assert held


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_without_locks_is_told_in_one_line(tmp_path, monkeypatch, number):
    def refused(file, operation):
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refused)
    message = f"{tmp_path}: files cannot be locked there .no locks.; mount it with locks, or choose another folder"
    with pytest.raises(BadInputError, match=message), hold(tmp_path / "one.lock"):
        pass
    assert not list(tmp_path.iterdir())
