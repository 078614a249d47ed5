"""The list of environments beside the records: added to by whatever is drawn, and never made anew."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from made_up import rewrite

from bench.spec.cells import Cell
from bench.store.table import load
from bench.system.errors import BadInputError
from paper_figures import make_all

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """The grids that have been drawn; nothing is written of them."""
    grids = []

    def draw(evidence):
        grids.append(evidence.grid)
        return []

    modules = [SimpleNamespace(GRID=grid, TITLE=grid, draw=draw) for grid in ("smoothing", "allocation")]
    monkeypatch.setattr(make_all, "drawables", lambda: modules)
    return grids


def made_on(number):
    """Change of a record: made at another commit, at another time."""
    return {"environment": lambda record: record.environment | {"commit": number}, "finished_at": f"2030-0{number}"}


def commits(path):
    return [one.get("commit") for one in json.loads(path.read_text())]


@pytest.fixture
def made(tmp_path, write_records):
    """Evidence of two environments, the cells of the second one, and the list that has been made of them."""
    evidence = write_records(tmp_path, "allocation", seeds=(0,))
    write_records(tmp_path, seeds=(0,))
    own = [cell for cell in evidence.cells if isinstance(cell, Cell) and cell.allocation != "constant"]
    rewrite(evidence, lambda cell: cell in own, **made_on(1))
    assert make_all.main(["--results", str(tmp_path)]) == 0
    path = evidence.store.root / "environment.json"
    assert commits(path) == [None, 1]
    return evidence, own, path


@pytest.mark.parametrize("part", [[], ["--grid", "smoothing"], ["--grid", "allocation"]], ids=str)
def test_nothing_is_written_where_nothing_is_new(made, tmp_path, part, drawn):
    *_, path = made
    path.write_text(json.dumps([{"commit": "of records that were replaced"}, *json.loads(path.read_text())]))
    before, drawn[:] = (path.read_bytes(), path.stat()), []
    assert make_all.main(["--results", str(tmp_path), *part]) == 0
    assert (path.read_bytes(), path.stat()) == before
    assert drawn == (part[1:] or ["smoothing", "allocation"])


@pytest.mark.parametrize("lost", ["absent", "damaged", "of older weights"])
def test_environments_of_records_that_cannot_be_read_stay(made, tmp_path, lost):
    evidence, own, path = made
    before = path.read_bytes(), path.stat()
    for cell in own:
        record = evidence.store.record_path(cell)
        if lost == "absent":
            record.unlink()
        elif lost == "damaged":
            record.write_text("{")
    if lost == "of older weights":
        rewrite(evidence, lambda cell: cell in own, inputs={"checkpoint": "of another training"})
    assert make_all.main(["--results", str(tmp_path), "--grid", "smoothing"]) == 0
    assert (path.read_bytes(), path.stat()) == before


def test_new_environments_are_added_behind_in_the_order_of_their_use(made, tmp_path):
    evidence, own, path = made
    for number, cell in zip((3, 2), own, strict=False):
        rewrite(evidence, lambda one, cell=cell: one == cell, **made_on(number))
    assert make_all.main(["--results", str(tmp_path), "--grid", "smoothing"]) == 0
    assert commits(path) == [None, 1, 2, 3]


@pytest.mark.parametrize("content", ["[", "{}", ""])
def test_a_damaged_list_is_told_before_anything_is_drawn(tmp_path, write_records, content, drawn):
    path = write_records(tmp_path, seeds=(0,)).store.root / "environment.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"environment.json is damaged .*restore it, or delete it"):
        make_all.main(["--results", str(tmp_path)])
    assert (path.read_text(), drawn) == (content, [])


def test_another_selection_has_a_list_of_its_own(made, tmp_path):
    *_, path = made
    before = path.read_bytes(), path.stat()
    assert make_all.main(["--results", str(tmp_path), "--budget", "280"]) == 0
    assert (path.read_bytes(), path.stat()) == before
    assert commits(path.parent / "parts/budget-280/environment.json") == [None, 1]


@pytest.mark.parametrize("folder", ["digits", "fashion-cpu"])
def test_kept_results_name_every_environment(folder):
    known = json.loads((ROOT / "results" / folder / "environment.json").read_text())
    records = [json.loads(path.read_text()) for path in (ROOT / "results" / folder / "records").iterdir()]
    assert records
    assert all(record["environment"] in known for record in records)


def test_all_records_are_written_as_a_table_only_with_all_grids(made, tmp_path):
    evidence, *_ = made
    path = evidence.store.root / "records.csv"
    assert pd.read_csv(path).key.tolist() == load(evidence.store.root).key.tolist()
    path.unlink()
    assert make_all.main(["--results", str(tmp_path), "--grid", "smoothing"]) == 0
    assert not path.exists()
    assert make_all.main(["--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "digits" / "records.csv").is_file()
    assert not path.exists()
