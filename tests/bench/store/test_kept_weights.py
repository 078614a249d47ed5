"""Weights that are kept with the results: which, what lies there, and what is never kept."""

import errno
import json
import re
from dataclasses import replace
from hashlib import sha256

import pytest
import torch
from faults import fault

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Record, Store
from bench.store.weights import first_replicate, keep_weights
from bench.system.errors import BadInputError
from bench.training.turns import train_together
from models.pretrained import read
from models.zoo import create_model

SELECTION = Selection(budgets=(28,), train_steps=3, samples=20, seeds=(4, 5))


def record(store, cell, fid=2.0, checkpoint=None):
    checkpoint = checkpoint or store.read_training(cell.run)["digest"]
    store.write(Record(cell.key, "done", "", cell.spec(), {"checkpoint": checkpoint}, {"fid": fid}))


@pytest.fixture
def trained(tiny_suite, store, cpu):
    """Both replicates of both twins, without records; and their quality cells."""
    cells = [cell for cell in get_cells("smoothing", tiny_suite, SELECTION) if cell.measure == "quality"]
    train_together(list(dict.fromkeys(cell.run for cell in cells)), store, cpu)
    return cells


def test_the_first_replicate_of_each_contender_with_records_is_kept(trained, store, tiny_suite):
    assert first_replicate(store, tiny_suite, SELECTION) == []
    for cell in trained:
        record(store, cell)
    runs = first_replicate(store, tiny_suite, SELECTION)
    assert [(run.model, run.seed) for run in runs] == [("dit", 4), ("fpdm", 4)]
    only = first_replicate(store, tiny_suite, replace(SELECTION, models=("fpdm",)))
    assert [run.model for run in only] == ["fpdm"]
    dit = next(cell.run for cell in trained if cell.model == "dit")
    for cell in trained:
        if cell.run == dit:
            record(store, cell, checkpoint="of older weights")
    assert [run.model for run in first_replicate(store, tiny_suite, SELECTION)] == ["fpdm"]


def test_what_is_kept_reads_as_a_network_and_says_what_it_is(trained, store):
    cells = [cell for cell in trained if cell.model == "fpdm" and cell.seed == 4]
    for number, cell in enumerate(cells):
        record(store, cell, 2.0 - number / 100)
    run, best = cells[0].run, cells[-1]
    (line,) = keep_weights(store, [run])
    folder, summary = store.weights_folder(run), store.read_training(run)
    assert line.startswith(f"{folder}: weights {summary['digest'][:12]} kept, ")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    kept, trained_ = (create_model(str(path)).state_dict() for path in (folder, store.checkpoint_folder(run)))
    assert all(torch.equal(kept[name], value) for name, value in trained_.items())
    assert read(folder)[0].training["sha256"] == summary["digest"]
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n")
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", card, re.MULTILINE))
    assert rows["data"] == f"digits, 1,417 images, SHA-256 {cells[0].protocol.reference_digest}"
    assert rows["training"] == f"{summary['elapsed_s']:g} s on the training clock, 3 steps, seed 4"
    assert rows["SHA-256 of the weights"] == summary["digest"]
    assert rows["SHA-256 of the weights"] == sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert rows["Fréchet distance"] == (
        f"{2.0 - (len(cells) - 1) / 100:.3f} at 28 block passes ({best.steps} steps of DDPM with {best.iterations} "
        f"iterations each, the lowest of {len(cells)} schedules; 20 samples, features of digits-cnn)"
    )
    assert rows["license"] == "MIT"


def test_kept_again_they_are_the_same_and_the_card_is_new(trained, store):
    cell = next(cell for cell in trained if cell.model == "dit")
    keep_weights(store, [cell.run])
    folder = store.weights_folder(cell.run)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert "not measured" in (folder / "README.md").read_text()
    record(store, cell)
    (line,) = keep_weights(store, [cell.run])
    assert "in place of" not in line
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert "2.000 at 28 block passes" in (folder / "README.md").read_text()


def test_weights_of_another_training_are_replaced_and_it_says_so(trained, store):
    run = trained[0].run
    folder = store.weights_folder(run)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"older")
    (line,) = keep_weights(store, [run])
    assert f"kept, in place of others ({sha256(b'older').hexdigest()[:12]}), " in line
    assert sha256((folder / "model.safetensors").read_bytes()).hexdigest() == store.read_training(run)["digest"]


def test_weights_that_are_not_there_or_not_those_of_the_records_are_refused(trained, store, tmp_path):
    run, other = trained[0].run, trained[-1].run
    path = store.checkpoint_folder(run) / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(BadInputError, match=r"has the digest [0-9a-f]{12}, .* names [0-9a-f]{12}: it is damaged"):
        keep_weights(store, [other, run])
    assert not store.weights_folder(other).exists()
    with pytest.raises(BadInputError, match=f"there are records of {run.name} but no weights"):
        keep_weights(Store(tmp_path / "elsewhere", "digits"), [run])


def test_a_folder_that_was_not_finished_holds_no_network(trained, store):
    run = trained[0].run
    with fault("replace", "weights/.*config.json", errno.ENOSPC), pytest.raises(OSError):
        keep_weights(store, [run])
    folder = store.weights_folder(run)
    assert (folder / "model.safetensors").exists()
    assert not (folder / "config.json").exists()
    keep_weights(store, [run])
    assert json.loads((folder / "config.json").read_text())["family"] == "dit"
