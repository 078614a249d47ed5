"""Worker processes that cannot begin, or are stuck: one line or a record that says so, and no wait for ever."""

import errno
import os
import signal
import sys
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch

from bench.evaluation import workers
from bench.evaluation.workers import evaluate_all
from bench.sampling.setting import Setting
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.system import children
from bench.system.errors import BadInputError
from bench.training.turns import train_together


@pytest.fixture(scope="module")
def trained_store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"), "digits")


@pytest.fixture(scope="module")
def cell(tiny_suite, trained_store):
    cells = get_cells("smoothing", tiny_suite, Selection(budgets=(28,), train_steps=2, seeds=(0,)))
    train_together([cells[0].run], trained_store, torch.device("cpu"))
    return cells[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOENT, errno.EACCES, errno.ENOSYS], ids=errno.errorcode.get)
def test_without_shared_memory_for_locks_it_is_one_line(number, cell, trained_store, cpu, monkeypatch):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refused)
    with pytest.raises(BadInputError, match=r"^/dev/shm: processes cannot share a lock there .*--workers 1$"):
        list(evaluate_all([cell], Setting(trained_store, cpu, workers=2)))
    assert [record.status for record in evaluate_all([cell], Setting(trained_store, cpu))] == ["done"]


def broken_start(*_):
    raise ImportError("libgomp.so.1: cannot allocate memory")


@pytest.mark.slow  # two starts of a process that imports torch
def test_a_worker_that_cannot_begin_is_one_line_and_blames_no_cell(cell, trained_store, cpu, monkeypatch, capfd):
    monkeypatch.setattr(workers, "_start", broken_start)
    fresh = replace(cell, seed=50)
    with pytest.raises(BadInputError, match="a worker process ended before it began"):
        list(evaluate_all([fresh], Setting(trained_store, cpu, workers=2)))
    assert trained_store.read(fresh) is None
    assert "libgomp.so.1" in capfd.readouterr().err
    assert not active_children()


def stop_at_77(cell, wait):
    if cell.seed == 77:
        os.kill(os.getpid(), signal.SIGSTOP)
    return workers._evaluate(cell, wait)


@pytest.mark.slow  # four starts of a process that imports torch
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_stopped_worker_hangs_nobody(cell, trained_store, cpu, monkeypatch, capfd):
    monkeypatch.setattr(children, "LOOK_S", 0.05)
    monkeypatch.setattr(children, "NOTICE", 10)
    monkeypatch.setattr(children, "PATIENCE", 40)
    victim, bystander = replace(cell, seed=77), replace(cell, seed=78)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_evaluate", stop_at_77)
        records = {r.key: r for r in evaluate_all([victim, bystander], Setting(trained_store, cpu, workers=2))}
    assert records[victim.key].status == "timeout"
    assert "stuck" in records[victim.key].reason
    assert records[bystander.key].status == "done"
    assert "which was stopped by a signal" in capfd.readouterr().err
    assert not active_children()
