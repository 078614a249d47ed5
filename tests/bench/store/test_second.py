"""Which cells a second extractor judges, what the plan says of it, and which records have its distance."""

import csv
import io
from dataclasses import replace

import pytest

from bench.run_grid import main
from bench.spec.extractors import DINOV2, INCEPTION
from bench.spec.grids.catalogue import get_cells
from bench.spec.reference import Reference
from bench.spec.selection import Selection
from bench.spec.suites import SUITES, get_suite
from bench.store.prices import resolved
from bench.store.records import Record, Store, missing
from bench.store.references import read_reference, write_reference
from bench.store.second import with_second
from bench.store.table import COLUMNS, load
from bench.system.command_line import run
from bench.system.errors import BadInputError
from bench.system.files import write_json, write_text

LATENT = ("imagenet", "celebahq", "ffhq", "church")
NETWORK = "dinov2-vit-s-14"
OWN = Reference("ffhq", 70_000, 256, "ab" * 32, INCEPTION, "6726825d0123abcd")
SECOND = replace(OWN, extractor=NETWORK, extractor_digest="fedcba9876543210")


def ffhq(tmp_path, second=True):
    """The suite ffhq and a store with its references."""
    store = Store(tmp_path, "ffhq")
    write_reference(store.root, OWN)
    if second:
        write_reference(store.root, SECOND, DINOV2)
    return get_suite("ffhq"), store


def test_only_the_256_pixel_suites_have_one():
    named = {name for name, suite in SUITES.items() if suite.evaluation.second_extractor}
    assert named == set(LATENT)


def test_cells_have_it_only_where_something_is_judged_and_it_is_asked_for(tmp_path):
    suite, store = ffhq(tmp_path)
    plain = resolved(Selection(), store, suite)
    fuller = with_second(plain, suite, store.root)
    before, after = (get_cells("all", suite, selection) for selection in (plain, fuller))
    assert len(before) == len(after)
    changed = {one.measure for one, other in zip(before, after, strict=True) if one.key != other.key}
    assert changed == {"quality"}
    assert {one.measure for one, other in zip(before, after, strict=True) if one.key == other.key} > {"images"}
    judged = next(cell for cell in after if cell.measure == "quality")
    assert judged.protocol.second == SECOND.of_second(DINOV2)
    assert with_second(replace(plain, reference=None), suite, store.root).second is None
    digits = get_suite("digits")
    assert with_second(Selection(reference=OWN), digits, store.root).second is None


def test_every_part_of_its_identity_is_part_of_the_key(tmp_path):
    suite, store = ffhq(tmp_path)
    selection = with_second(resolved(Selection(), store, suite), suite, store.root)
    cell = next(cell for cell in get_cells("datasets", suite, selection) if cell.measure == "quality")
    changes = {"name": "x", "network": "x", "extractor_digest": "x", "reference_digest": "x"}
    seconds = [replace(cell.protocol.second, **{name: value}) for name, value in changes.items()]
    keys = {replace(cell, protocol=replace(cell.protocol, second=second)).key for second in (*seconds, None)}
    assert len(keys | {cell.key}) == 6


def test_references_of_other_images_are_refused(tmp_path):
    _, store = ffhq(tmp_path, second=False)
    with pytest.raises(
        BadInputError, match=r"of images of digest abababababab, .* dinov2-vit-s-14's .* of cdcdcdcdcdcd"
    ):
        write_reference(store.root, replace(SECOND, digest="cd" * 32), DINOV2)
    assert read_reference(store.root, DINOV2) is None
    write_reference(store.root, SECOND, DINOV2)
    with pytest.raises(BadInputError, match=r"reference-dinov2.json is of other images or features .identity"):
        write_reference(store.root, replace(SECOND, extractor_digest="other"), DINOV2)
    write_json(store.root / "reference.json", replace(OWN, digest="cd" * 32).spec())
    with pytest.raises(BadInputError, match=r"reference-dinov2.json: delete it, and run bench/reference.py again"):
        read_reference(store.root, DINOV2)


@pytest.fixture
def written(tmp_path):
    """A store, a cell of it without and one with a second extractor, and a function that writes records of them."""
    suite, store = ffhq(tmp_path)
    plain = resolved(Selection(), store, suite)
    selections = plain, with_second(plain, suite, store.root)
    cells = [next(c for c in get_cells("datasets", suite, one) if c.measure == "quality") for one in selections]
    write_json(store.training_path(cells[0].run), {"digest": "d", "status": "done", "step": 1, "elapsed_s": 1.0})

    def write(cell, **changes):
        metrics = {"fid": 3.0} | ({"fd_dinov2": 200.0} if cell.protocol.second else {})
        record = Record(cell.key, "done", "", cell.spec(), {"checkpoint": "d"}, metrics)
        store.write(replace(record, **changes))

    return store, *cells, write


def test_a_record_with_its_distance_serves_the_cell_without_it_and_not_the_other_way_round(written):
    store, without, fuller, write = written
    both = [without, fuller]
    write(without)
    assert missing(store, both) == [fuller]
    assert "fd_dinov2" not in store.current(without).metrics
    write(fuller)
    assert missing(store, both) == []
    assert store.current(without).key == fuller.key
    store.record_path(without).unlink()
    assert missing(store, both) == []
    write(fuller, inputs={"checkpoint": "of other weights"})
    assert missing(store, both) == both
    write(fuller, status="error")
    write(without)
    assert store.current(without).key == without.key


def test_tables_of_records_have_a_column_for_it_where_a_record_has_it(written, capsys, tmp_path):
    store, without, fuller, write = written
    write(without)
    assert tuple(load(store.root)) == COLUMNS
    write(fuller)
    table = load(store.root).set_index("key")
    assert [name for name in table if name not in COLUMNS] == ["fd_dinov2"]
    assert table.fd.tolist() == [3.0, 3.0]
    assert table.fd_dinov2.to_dict()[fuller.key] == 200
    assert table.fd_dinov2.isna().to_dict()[without.key]
    assert table.grids[fuller.key] == table.grids[without.key] != ""
    write(fuller, status="diverged", metrics={})
    assert load(store.root).set_index("key").fd_dinov2[fuller.key] == float("inf")
    assert call(tmp_path, "--list") == 0
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert (rows[without.key]["fd_dinov2"], rows[without.key]["path"]) == ("inf", f"records/{fuller.key}.json")


# The commands


@pytest.fixture(autouse=True)
def lines_of_the_end(monkeypatch):
    """A plan without its estimates, which take long, and a list without memberships."""
    monkeypatch.setattr("bench.run_grid.plan", lambda suite, store, found, todo, capacity: [cell.key for cell in found])
    monkeypatch.setattr("bench.run_grid.memberships", lambda suite, selection: {})


def call(tmp_path, *flags, suite="ffhq"):
    base = ["--suite", suite, "--grid", "datasets", "--results", str(tmp_path), "--device", "cpu"]
    return run(main, [*base, *map(str, flags)])


def plan(tmp_path, capsys, *flags, grid="datasets"):
    assert call(tmp_path, "--plan", "--grid", grid, *flags) == 0
    return capsys.readouterr().out.splitlines()


def test_the_plan_says_whether_it_will_be_measured_and_what_that_needs(tmp_path, capsys):
    weights = write_weights(tmp_path)

    def line(*flags):
        (found,) = [line for line in plan(tmp_path / "results", capsys, *flags) if "DINOv2" in line]
        return found

    making = "statistics of its features (bench/reference.py --suite ffhq --data DIR --dinov2-weights FILE)"
    lacking = "FD (DINOv2) will not be measured: it needs"
    assert line() == f"{lacking} DINOv2's weights (--dinov2-weights FILE) and {making}"
    assert line("--dinov2-weights", weights) == f"{lacking} {making}"
    ffhq(tmp_path / "results")
    assert line() == f"{lacking} DINOv2's weights (--dinov2-weights FILE)"
    assert line("--dinov2-weights", weights) == f"FD (DINOv2) is measured beside FD, in features of {NETWORK}"
    assert not [line for line in plan(tmp_path / "results", capsys, grid="memory") if "DINOv2" in line]


def write_weights(tmp_path):
    path = tmp_path / "dinov2.pth"
    write_text(path, "opened only by cells")
    return path


def test_keys_are_as_without_it_unless_its_weights_are_given(tmp_path, capsys):
    weights = write_weights(tmp_path)
    results = tmp_path / "results"
    ffhq(results, second=False)
    before = plan(results, capsys)
    ffhq(results)
    assert plan(results, capsys)[:-1] == before[:-1]
    given = plan(results, capsys, "--dinov2-weights", weights)
    assert len(given) == len(before) > 5
    assert not set(given) & set(before)


@pytest.mark.parametrize(
    ("flags", "suite", "second", "complaint"),
    [
        (["--dinov2-weights", "/nowhere.pth"], "ffhq", True, "--dinov2-weights /nowhere.pth: no such file"),
        (["--dinov2-weights", "{weights}"], "ffhq", False, "reference-dinov2.json is not there, which names"),
        (["--dinov2-weights", "{weights}"], "digits", False, "suite digits has no Frechet distance in DINOv2's"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_before_any_work(flags, suite, second, complaint, tmp_path, capsys):
    weights, results = write_weights(tmp_path), tmp_path / "results"
    ffhq(results, second)
    before = sorted(results.rglob("*"))
    assert call(results, *(flag.format(weights=weights) for flag in flags), suite=suite) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert complaint in error
    assert sorted(results.rglob("*")) == before
