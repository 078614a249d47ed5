"""Child processes that take turns: in order, with their errors; dead and stuck ones are noticed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.system import children
from bench.system.children import DiedError, in_turns

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def square(part):
    return np.full((part, 3), part**2)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_results_come_in_order(count):
    parts = [3, 0, 5, 1, 2]
    results = list(in_turns(square, parts, count))
    assert [result.shape for result in results] == [(part, 3) for part in parts]
    assert all((result == part**2).all() for result, part in zip(results, parts, strict=True))
    assert not multiprocessing.active_children()
    assert not list(in_turns(square, [], count))


def test_an_error_is_raised_where_its_part_is_due():
    def fails_at_2(part):
        if part == 2:
            raise FileNotFoundError(2, "No such file or directory", "/some/file")
        return part

    results = in_turns(fails_at_2, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(FileNotFoundError) as caught:
        next(results)
    assert caught.value.filename == "/some/file"
    assert "in fails_at_2" in caught.value.__notes__[0]
    assert not multiprocessing.active_children()


def test_what_cannot_be_sent_is_an_error_and_no_wait():
    with pytest.raises((AttributeError, TypeError)):
        list(in_turns(lambda part: lambda: part, [1], 1))


def big(part):
    return np.zeros(1_000_000, np.uint8)


@pytest.mark.parametrize("part", [0, 3])
@pytest.mark.parametrize("how", ["killed", "exit"])
def test_a_dead_child_is_noticed_at_once(part, how):
    def dies(i):
        if i == part:
            os.kill(os.getpid(), signal.SIGKILL) if how == "killed" else os._exit(3)
        return i

    started = time.monotonic()
    with pytest.raises(DiedError) as caught:
        list(in_turns(dies, range(6), 2))
    assert str(caught.value) == ("was killed by SIGKILL" if how == "killed" else "ended with status 3")
    assert time.monotonic() - started < children.LOOK_S
    assert not multiprocessing.active_children()


def test_a_child_that_is_killed_in_the_middle_of_what_it_sends_is_noticed():
    results = in_turns(big, range(4), 2)
    next(results)
    time.sleep(0.2)  # both wait for a pipe to be emptied
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(DiedError, match="killed by SIGKILL"):
        list(results)


@linux
def test_a_stopped_child_is_told_and_ended(monkeypatch, capfd):
    monkeypatch.setattr(children, "LOOK_S", 0.02)
    monkeypatch.setattr(children, "NOTICE", 3)
    monkeypatch.setattr(children, "PATIENCE", 20)

    def stops(part):
        if part == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return part

    with pytest.raises(DiedError, match="killed by SIGKILL"):
        list(in_turns(stops, range(4), 2))
    (line,) = capfd.readouterr().err.splitlines()
    assert "which was stopped by a signal (kill -CONT" in line
    assert "it is ended in" in line


@linux
def test_a_stopped_child_that_goes_on_is_waited_for(monkeypatch, capfd):
    monkeypatch.setattr(children, "LOOK_S", 0.02)
    monkeypatch.setattr(children, "NOTICE", 3)
    results = in_turns(big, range(8), 2)  # larger than a pipe: both wait for the parent
    next(results)
    stopped = multiprocessing.active_children()
    for child in stopped:
        os.kill(child.pid, signal.SIGSTOP)
    while not capfd.readouterr().err:
        time.sleep(0.02)
    for child in stopped:
        os.kill(child.pid, signal.SIGCONT)
    assert len(list(results)) == 7


@linux
def test_children_that_wait_or_work_are_not_stuck(monkeypatch, capfd):
    """They wait for the parent, sleep, as if on slow storage, and compute."""
    monkeypatch.setattr(children, "LOOK_S", 0.01)
    monkeypatch.setattr(children, "NOTICE", 5)
    monkeypatch.setattr(children, "PATIENCE", 10)

    def works(part):
        deadline = time.monotonic() + 0.3
        while part == 2 and time.monotonic() < deadline:
            pass
        time.sleep(0.3 if part == 1 else 0)
        return part

    for found in in_turns(works, range(6), 3):
        time.sleep(0.3 if found == 3 else 0)
    assert capfd.readouterr().err == ""


def test_a_consumer_that_stops_early_leaves_no_child():
    results = in_turns(big, range(100), 3)
    next(results)
    assert len(multiprocessing.active_children()) == 3
    results.close()
    assert not multiprocessing.active_children()


KILLED = """
import multiprocessing, time
from bench.system.children import in_turns
results = in_turns(lambda part: time.sleep(600 if part else 0), range(9), 3)
next(results)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


@linux
def test_children_end_with_a_killed_parent():
    command = [sys.executable, "-c", KILLED]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        pids = process.stdout.readline().split()
        process.kill()
    assert len(pids) == 3
    deadline = time.monotonic() + 10
    while (left := [pid for pid in pids if runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
