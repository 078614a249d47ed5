"""Kept results of the tiny suite: both twins trained by the clock, their records, records.csv and weights."""

import shutil
from itertools import count

import pytest
import torch

from bench.audit import main
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import needed_runs
from bench.sampling.setting import Setting
from bench.spec.grids.catalogue import get_cells
from bench.spec.grids.membership import memberships
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.store.table import as_csv, load
from bench.store.weights import first_replicate, keep_weights
from bench.system.command_line import run
from bench.system.files import write_text
from bench.training.turns import train_together

SELECTION = Selection(budgets=(28,), train_seconds=0.5, samples=20, seeds=(0,))
WORDS = ["--budget", "28", "--train-seconds", "0.5", "--samples", "20", "--seeds", "0"]


@pytest.fixture(scope="session")
def kept_once(tmp_path_factory, tiny_suite):
    store, cpu = Store(tmp_path_factory.mktemp("kept"), "digits"), torch.device("cpu")
    cells = [cell for cell in get_cells("smoothing", tiny_suite, SELECTION) if cell.measure == "quality"]
    with pytest.MonkeyPatch.context() as patch:  # a clock that reads 10 ms more each time, on any machine
        readings = count()
        patch.setattr("bench.training.clock.time.perf_counter", lambda: 0.01 * next(readings))
        train_together(needed_runs(cells), store, cpu)
    evaluator = Evaluator(Setting(store, cpu))
    assert {evaluator.evaluate(cell).status for cell in cells} == {"done"}
    keep_weights(store, first_replicate(store, tiny_suite, SELECTION))
    shutil.rmtree(store.root / "checkpoints")
    return store, cells


@pytest.fixture
def kept(kept_once, tmp_path, tiny_suite, monkeypatch):
    """A copy of the test's own, and its cells. Only the tiny suite's cells are members of a grid."""
    members = memberships(tiny_suite, SELECTION)
    monkeypatch.setattr("bench.store.table.memberships", lambda suite, selection: members)
    store, cells = kept_once
    shutil.copytree(store.root, tmp_path / "kept" / "digits")
    store = Store(tmp_path / "kept", "digits")
    write_text(store.root / "records.csv", as_csv(load(store.root)))
    return store, cells


@pytest.fixture
def audit(kept, tiny_suite, monkeypatch, capsys):
    """Runs bench/audit.py on them: its status, what it printed, and what it complained about."""
    monkeypatch.setattr("bench.audit.suite_of", lambda *_: tiny_suite)
    monkeypatch.setattr("bench.reproduction.resampling.usable_cores", lambda: 1)  # no processes of their own

    def audit(*words):
        status = run(main, [*WORDS, "--results", str(kept[0].root.parent), *map(str, words)])
        return status, *capsys.readouterr()

    return audit
