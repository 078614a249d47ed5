"""bench/audit.py finds what was edited by hand, and nothing where nothing was."""

import json
import shutil
from hashlib import sha256

import pytest
from edited import better, edit

from bench.reproduction.choice import Kept, by_hash
from bench.store.table import as_csv, load
from bench.system.files import write_text


def listing(folder):
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def test_kept_numbers_agree_and_nothing_is_written(kept, audit):
    store, cells = kept
    before = listing(store.root.parent)
    status, printed, _ = audit("--cells", 3)
    assert status == 0, printed
    assert f"{len(cells)} records; contradictions among records, tables and weights: none" in printed
    assert f"sampled again: 3 of {len(cells)} cells, chosen by hash (--choice 0)\n" in printed
    chosen = sorted(cells, key=lambda cell: sha256(f"0 {cell.key}".encode()).hexdigest())[:3]
    rows = [line.split()[1] for line in printed.splitlines() if line.endswith("| same bits | yes      |")]
    assert rows == [cell.key for cell in chosen]
    assert "the conditions of the record, which give the same bits: processor, torch, threads, options\n" in printed
    assert listing(store.root.parent) == before


@pytest.mark.slow
def test_several_processes_find_the_same(kept, audit, monkeypatch):
    monkeypatch.setattr("bench.reproduction.resampling.usable_cores", lambda: 2)
    status, printed, _ = audit("--cells", 3)
    assert status == 0, printed
    assert printed.count("| same bits | yes      |") == 3


def test_a_number_that_is_edited_in_a_record_is_found_without_sampling(kept, audit):
    store, (cell, *_) = kept
    then = json.loads(store.record_path(cell).read_text())["metrics"]["fid"]
    edit(store.record_path(cell), metrics=better)
    status, printed, _ = audit("--cells", 0)
    assert status == 1
    assert f"records.csv: fd of {cell.key} is {then:.15g}, in its record it is {0.9 * then:.15g}" in printed
    assert "contradictions among records, tables and weights: 1\n" in printed


def test_a_number_that_is_edited_in_all_files_is_found_by_sampling(kept, audit):
    store, (cell, *_) = kept
    then = json.loads(store.record_path(cell).read_text())["metrics"]["fid"]
    edit(store.record_path(cell), metrics=better)
    write_text(store.root / "records.csv", as_csv(load(store.root)))
    status, printed, _ = audit("--only", cell.key[:9])
    assert status == 1
    assert "tables and weights: none\n" in printed
    assert f"{cell.key}: fd {then:.6g} instead of {0.9 * then:.6g}" in printed
    (row,) = [line for line in printed.splitlines() if line.endswith("| same bits | NO       |")]
    assert row.split()[1] == cell.key


def test_edited_weights_are_found_and_not_sampled_from(kept, audit):
    store, cells = kept
    run = next(cell.run for cell in cells if cell.model == "fpdm")
    path = store.weights_folder(run) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    status, printed, _ = audit("--cells", 1)
    assert status == 1
    digest = sha256(content).hexdigest()[:12]
    for named in ("training summary", "config.json"):
        assert f"weights/{run.name}: the file's digest is {digest}, its {named} names " in printed
    of_dit = sum(cell.model == "dit" for cell in cells)
    assert f"sampled again: 1 of {of_dit} cells" in printed
    own = len(cells) - of_dit
    assert f"weights/{run.name}: {own} of {own} records are of other weights" in printed


@pytest.mark.parametrize(
    ("edited", "said"),
    [
        (lambda cell: cell | {"steps": cell["steps"] + 1}, "its steps is "),
        (lambda cell: cell | {"protocol": cell["protocol"] | {"samples": 21}}, "its protocol is "),
    ],
)
def test_a_record_that_describes_another_cell_is_found(kept, audit, edited, said):
    store, (cell, *_) = kept
    edit(store.record_path(cell), cell=edited)
    status, printed, _ = audit("--cells", 0)
    assert status == 1
    assert f"record {cell.key}: {said}" in printed


def test_so_is_one_of_a_cell_that_no_grid_has(kept, audit):
    store, (cell, *_) = kept
    edit(store.record_path(cell), cell=lambda spec: spec | {"sampler": "euler"})
    status, printed, _ = audit("--cells", 0, "--budget", 56)
    assert status == 1
    assert f"record {cell.key}: what it describes has the key " in printed
    assert printed.count("what it describes") == 1


def test_a_summary_of_another_run_is_found(kept, audit):
    store, (cell, *_) = kept
    edit(store.training_path(cell.run), run=lambda identity: identity | {"seed": 1})
    status, printed, _ = audit("--cells", 0)
    assert status == 1
    assert f"training {cell.run.name}.json: the run that it describes has another name" in printed


def test_rows_and_records_that_lack_each_other_are_found(kept, audit):
    store, (first, second, *_) = kept
    table = (store.root / "records.csv").read_text()
    (store.root / "records.csv").write_text("".join(line for line in table.splitlines(True) if first.key not in line))
    store.record_path(second).unlink()
    status, printed, _ = audit("--cells", 0)
    assert status == 1
    assert f"records.csv: {first.key} has no row\n" in printed
    assert f"records.csv: {second.key} has a row but no record\n" in printed


def test_without_weights_it_says_so_and_is_content(kept, audit):
    store, _ = kept
    shutil.rmtree(store.root / "weights")
    status, printed, _ = audit()
    assert status == 0
    assert printed.splitlines()[-1] == (
        f"{store.root / 'weights'}: no usable weights are kept there, so no cell is sampled again"
    )


def test_long_cells_are_left_out_and_it_says_so(kept, audit):
    store, (cell, *_) = kept
    edit(store.record_path(cell), timing=lambda timing: timing | {"total_s": 1e6})
    status, printed, _ = audit("--longest", 1e5, "--cells", 0)
    assert status == 0
    count = len(kept[1])
    assert (
        f"0 of {count - 1} cells, chosen by hash (--choice 0); 1 that took more than 100000 s are left out" in printed
    )


def test_on_another_processor_numbers_agree_within_the_stated_tolerance(kept, audit):
    store, (cell, *_) = kept

    def elsewhere(environment):
        return environment | {"processor": environment["processor"] | {"model": "0", "name": "Abacus"}}

    edit(store.record_path(cell), environment=elsewhere, samples_digest=lambda digest: f"each:{'0' * 64}")
    words = ("--only", cell.key)
    status, printed, _ = audit(*words)
    assert status == 0, printed
    assert "not the conditions of the record: the processor is " in printed
    assert ", not Abacus (" in printed
    assert "Bits may differ; fd by 0.1% or 0.001, fd_quarter by 0.1% or 0.001, " in printed
    assert ", kid by 0.1% or 0.0001, " in printed
    edit(store.record_path(cell), metrics=lambda metrics: metrics | {"fid": 1.0005 * metrics["fid"]})
    write_text(store.root / "records.csv", as_csv(load(store.root)))
    assert audit(*words)[0] == 0
    edit(store.record_path(cell), metrics=better)
    write_text(store.root / "records.csv", as_csv(load(store.root)))
    status, printed, _ = audit(*words)
    assert status == 1
    assert f"{cell.key}: fd " in printed


def test_other_samples_under_the_same_conditions_are_found(kept, audit):
    store, (cell, *_) = kept
    edit(store.record_path(cell), samples_digest=lambda digest: f"each:{'0' * 64}")
    status, printed, _ = audit("--only", cell.key)
    assert status == 1
    assert f"{cell.key}: other samples under the same conditions" in printed


def test_an_unknown_key_and_a_damaged_description_are_one_line(kept, audit):
    store, (cell, *_) = kept
    status, _, complaint = audit("--only", "xyz")
    assert (status, complaint.splitlines()) == (
        2,
        [f"error: --only xyz: no such key among {len(kept[1])} quality cells with records and kept weights"],
    )
    (store.weights_folder(cell.run) / "config.json").write_text("{")
    status, _, complaint = audit()
    assert status == 2
    (line,) = complaint.splitlines()
    assert "config.json is damaged (JSONDecodeError" in line


def test_what_lies_in_the_folder_already_is_not_overwritten(kept, audit, tmp_path):
    store, (cell, *_) = kept
    mine = tmp_path / "mine" / "digits" / "training" / store.training_path(cell.run).name
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    status, _, complaint = audit("--only", cell.key, "--out", tmp_path / "mine")
    assert status == 2
    assert f"{mine} is not a copy of {store.training_path(cell.run)}; name another folder" in complaint
    assert mine.read_text() == "{}"


def test_another_number_chooses_other_cells(kept):
    store, cells = kept
    records = [Kept(cell, store.read(cell)) for cell in cells]
    choices = [tuple(one.cell.key for one in by_hash(records, 3, choice)) for choice in range(20)]
    assert by_hash(records[::-1], 3, 7) == by_hash(records, 3, 7)
    assert len(set(choices)) > 15
    assert len({key for chosen in choices for key in chosen}) == len(cells)  # each has its turn
