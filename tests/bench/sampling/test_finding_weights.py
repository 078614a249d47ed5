"""Cells are sampled from kept weights where there is no checkpoint, and from no others."""

import shutil

import pytest
import torch

from bench.evaluation.evaluator import Evaluator
from bench.run_grid import main as run_grid
from bench.sample import main as sample
from bench.sampling.setting import Setting
from bench.sampling.weights import find_weights, load_weights
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.store.weights import keep_weights
from bench.system.command_line import run
from bench.system.errors import BadInputError
from bench.training.turns import train_together

WORDS = ["--budget", "28", "--samples", "20", "--train-steps", "3", "--seeds", "0", "--device", "cpu"]


@pytest.fixture
def kept(tiny_suite, store, cpu):
    """A store with kept weights of FPDM and no checkpoint, a cell of it, and what was recorded with the checkpoint."""
    selection = Selection(budgets=(28,), train_steps=3, samples=20, seeds=(0,))
    grid = get_cells("smoothing", tiny_suite, selection)
    cell = next(cell for cell in grid if cell.model == "fpdm" and cell.measure == "quality")
    train_together([cell.run], store, cpu)
    record = Evaluator(Setting(store, cpu)).evaluate(cell)
    keep_weights(store, [cell.run])
    checkpoint = find_weights(store, cell.run)
    shutil.rmtree(store.root / "checkpoints")
    assert find_weights(store, cell.run)[1] == checkpoint[1]
    return store, cell, record


def test_a_cell_is_evaluated_from_them_with_the_same_bits(kept, cpu):
    store, cell, record = kept
    again = Evaluator(Setting(store, cpu)).evaluate(cell)
    assert (again.samples_digest, again.metrics, again.inputs) == (record.samples_digest, record.metrics, record.inputs)


def test_a_grid_of_kept_results_uses_them_instead_of_training(kept, monkeypatch, tiny_suite, capsys):
    store, cell, record = kept
    monkeypatch.setattr("bench.run_grid.suite_of", lambda *_: tiny_suite)
    monkeypatch.setattr("bench.run_grid._draw", lambda arguments: 0)
    monkeypatch.setattr("bench.training.turns.Trainer", None)
    words = [*WORDS, "--only", cell.key, "--workers", "1", "--results", str(store.root.parent)]
    assert run(run_grid, [*words, "--plan"]) == 0
    assert "nothing to evaluate" not in capsys.readouterr().out
    store.record_path(cell).unlink()
    assert run(run_grid, [*words, "--plan"]) == 0
    assert "0 runs to train" in capsys.readouterr().out
    assert run(run_grid, words) == 0
    assert store.read(cell).samples_digest == record.samples_digest
    path = store.weights_folder(cell.run) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    store.record_path(cell).unlink()
    capsys.readouterr()
    assert run(run_grid, words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: weights {path} are damaged, or of another training than ")
    assert not store.record_path(cell).exists()


def test_weights_without_a_summary_are_refused(kept):
    store, cell, _ = kept
    store.training_path(cell.run).unlink()
    with pytest.raises(BadInputError, match="is not there, which says what they are"):
        load_weights(store, cell.run)


def test_a_checkpoint_comes_first(kept, tiny_suite, cpu):
    store, cell, _ = kept
    (store.weights_folder(cell.run) / "model.safetensors").write_bytes(b"older")
    train_together([cell.run], store, cpu)
    path, digest = find_weights(store, cell.run)
    assert path.is_relative_to(store.checkpoint_folder(cell.run))
    assert digest == store.read_training(cell.run)["digest"]


def test_the_sampling_command_finds_them_once(kept, monkeypatch, tiny_suite, tmp_path, capsys):
    """A run with weights in both places is one run."""
    store, cell, _ = kept
    monkeypatch.setattr("bench.sample.suite_of", lambda *_: tiny_suite)
    words = ["--results", str(store.root.parent), "--device", "cpu", "--steps", "2", "--out", str(tmp_path / "a.png")]
    assert run(sample, words) == 0
    assert f"sampling with {cell.run.name}\n" in capsys.readouterr().err
    train_together([cell.run], store, torch.device("cpu"))
    assert store.network_folders() == {store.checkpoint_folder(cell.run): ("fpdm", 0)}
    assert run(sample, words) == 0
    assert Store(tmp_path / "none", "digits").network_folders() == {}
