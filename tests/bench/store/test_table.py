"""Records as one table: `load`, `--list`, records.csv and the README's plot have the same rows."""

import csv
import io
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import bench.store
from bench.run_grid import main as run_grid
from bench.spec.grids.catalogue import get_cells
from bench.spec.grids.membership import Membership, memberships
from bench.spec.measurements import Speed
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.prices import resolved
from bench.store.records import Record, Store
from bench.store.table import COLUMNS
from bench.system.errors import BadInputError

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "results" / "digits"
DIGITS = get_suite("digits")


@pytest.fixture(scope="module")
def kept():
    return bench.store.load(KEPT)


def write(store, cell, status="done", checkpoint="aa", **measured):
    store.write(Record(cell.key, status, "", cell.spec(), {"checkpoint": checkpoint}, **measured))


def train(store, run, digest="aa"):
    path = store.training_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"digest": digest, "status": "done", "step": 1, "elapsed_s": 1.0}))


def two_cells():
    cells = [cell for cell in get_cells("reuse", DIGITS, Selection()) if cell.measure == "quality"]
    return cells[0], cells[-1]


def test_a_row_a_record_with_the_numbers_of_its_file(kept):
    assert len(kept) == len(list((KEPT / "records").iterdir())) > 700
    assert tuple(kept.columns) == COLUMNS
    for _, row in kept[kept.measure == "quality"].iloc[::100].iterrows():
        record = json.loads((KEPT / row.path).read_text())
        assert (row.key, row.fd, row.kid) == (record["key"], record["metrics"]["fid"], record["metrics"]["kid"])
        assert (row.macs, row.block_passes) == (record["cost"]["macs"], record["cost"]["block_passes"])
        assert (row.seconds, row.status) == (record["timing"]["sampling_s"], record["status"])
        cell = record["cell"]
        assert (row.contender, row.sampling_seed, row.train_seed) == (cell["model"], cell["seed"], cell["train_seed"])
        assert row.train_seconds == cell["run"]["recipe"]["seconds"]
        assert row["dtype"] == cell["protocol"]["precision"]
    assert set(kept.label) >= {"DiT", "FPDM"}
    assert set(kept[kept.measure == "footprint"].fd.isna()) == {True}


def test_what_was_spent_is_counted_not_planned(kept):
    adaptive = kept[(kept.allocation == "adaptive") & (kept.status == "done")]
    spent = [json.loads((KEPT / path).read_text())["cost"]["block_passes"] for path in adaptive.path]
    assert adaptive.block_passes.tolist() == spent
    assert (adaptive.executed_block_passes > adaptive.block_passes).all()


def test_a_record_belongs_to_every_grid_that_enumerates_its_cell(kept):
    selection = resolved(Selection(), Store(KEPT.parent, "digits"), DIGITS)
    for grid in ("smoothing", "accounts", "equal-timesteps", "memory"):
        keys = {cell.key for cell in get_cells(grid, DIGITS, selection)}
        listed = kept[kept.grids.str.split().map(lambda grids, grid=grid: grid in grids)]
        own = kept[kept.key.isin(keys)]
        assert set(own.key) <= set(listed.key)
        assert len(own) > 0
    macs = get_cells("smoothing", DIGITS, replace(selection, account="macs"))
    both = {cell.key for cell in macs} & {cell.key for cell in get_cells("smoothing", DIGITS, selection)}
    assert both, "DiT takes the same steps in every account"
    assert set(kept[kept.key.isin(both) & (kept.measure == "quality")].accounts) <= {
        "blocks macs",
        "blocks macs seconds",
    }
    assert set(kept[kept.measure == "footprint"].accounts) == {""}


def test_a_record_of_no_grid_has_none(tmp_path):
    cell, _ = two_cells()
    store = Store(tmp_path, "digits")
    for one in (cell, replace(cell, steps=cell.steps + 1)):
        train(store, one.run)
        write(store, one)
    grids = bench.store.load(tmp_path / "digits").set_index("key").grids
    assert "reuse" in grids[cell.key].split()
    assert grids.drop(cell.key).tolist() == [""]
    assert memberships(DIGITS, Selection()).get("none", Membership()) == Membership()


def test_states_tell_what_a_row_is_worth(tmp_path, capsys):
    one, other = two_cells()
    store = Store(tmp_path, "digits")
    train(store, one.run)
    write(store, one, metrics={"fid": 1.5})
    train(store, other.run)
    write(store, other, status="diverged")
    frame = bench.store.load(store.root).set_index("key")
    assert frame.status.to_dict() == {one.key: "done", other.key: "diverged"}
    assert frame.fd.to_dict() == {one.key: 1.5, other.key: math.inf}
    train(store, one.run, digest="bb")
    assert bench.store.load(store.root).set_index("key").status[one.key] == "outdated"
    assert run_grid(["--grid", "reuse", "--list", "--results", str(tmp_path)]) == 0
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert {key: rows[key]["status"] for key in (one.key, other.key)} == {one.key: "outdated", other.key: "diverged"}
    assert rows.pop(one.key)["path"] == f"records/{one.key}.json"
    del rows[other.key]
    assert {(row["status"], row["fd"], row["path"]) for row in rows.values()} == {("absent", "", "")}


def test_list_has_the_rows_of_load(kept, capsys):
    assert run_grid(["--grid", "samplers", "--list", "--results", str(KEPT.parent)]) == 0
    listed = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False).set_index("key")
    listed = listed[listed.status != "absent"]  # samplers that were added since
    same = kept.set_index("key").loc[listed.index]
    assert len(same) > 50
    for column in ("grids", "accounts", "contender", "train_run", "status", "path"):
        assert listed[column].tolist() == same[column].tolist()
    assert [float(value) for value in listed.fd] == same.fd.tolist()


def test_a_speed_cell_has_no_single_schedule():
    cells = [cell for cell in get_cells("throughput", DIGITS, Selection()) if isinstance(cell, Speed)]
    file = io.StringIO()
    bench.store.table.write_rows(file, cells, Store(Path("none"), "digits"), {})
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert len(rows) == len(cells) > 1
    assert {row["iterations"] for row in rows} == {""}


@pytest.mark.parametrize("folder", ["digits", "fashion-cpu"])
def test_the_kept_csv_is_that_table(folder):
    path = ROOT / "results" / folder / "records.csv"
    assert path.stat().st_size < 5e6
    texts = [*bench.store.table.TEXTS]
    frame = pd.read_csv(path, dtype=dict.fromkeys(texts, str) | dict.fromkeys(bench.store.table.FLAGS, "boolean"))
    frame[texts] = frame[texts].fillna("")
    pd.testing.assert_frame_equal(frame, bench.store.load(path.parent), check_dtype=False, rtol=1e-14)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: "{",
        lambda record: "[]",
        lambda record: json.dumps({"key": "x"}),
        lambda record: json.dumps(record | {"status": "well"}),
        lambda record: json.dumps(record | {"cell": {}}),
        lambda record: json.dumps(record | {"cell": None}),
    ],
    ids=["truncated", "a list", "fields", "status", "cell", "no cell"],
)
def test_a_damaged_record_is_one_clear_error(damage, tmp_path):
    cell, _ = two_cells()
    write(Store(tmp_path, "digits"), cell)
    path = tmp_path / "digits" / "records" / f"{cell.key}.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(BadInputError, match=rf"record {re.escape(str(path))} is damaged \(.*\): delete it"):
        bench.store.load(tmp_path / "digits")


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(BadInputError, match="digts: no records there; give the folder of a suite"):
        bench.store.load(tmp_path / "digts")


def test_the_readme_plots_fd_against_macs_without_torch(tmp_path):
    section = (ROOT / "README.md").read_text().split("## Results as data")[1].split("\n## ")[0]
    (snippet,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(list(filter(None, snippet.splitlines()))) == 4
    shutil.copytree(ROOT / "results" / "digits", tmp_path / "results" / "digits")
    check = (
        "import sys, matplotlib.pyplot as plt\n"
        "figure = plt.gcf()\n"
        "assert [axes.get_title() for axes in figure.axes] == ['sampler = ddpm', 'sampler = ddim']\n"
        "assert {(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes} <= {('macs', 'fd'), ('macs', '')}\n"
        "assert min(len(axes.collections[0].get_offsets()) for axes in figure.axes) > 100\n"
        "names = {text.get_text() for text in figure.legends[0].get_texts()}\n"
        "assert {'DiT', 'FPDM', 'DiT-3'} <= names, names\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", snippet + check],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "PATH": "/usr/bin", "HOME": str(tmp_path)},
        check=True,
    )
