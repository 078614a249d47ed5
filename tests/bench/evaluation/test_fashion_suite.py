"""The suites of Fashion-MNIST: what they consist of, and the whole path on a miniature of one."""

import json
from dataclasses import replace

import pytest

from bench import run_grid
from bench.data import fashion
from bench.evaluation.plan import Capacity, plan
from bench.spec.datasets import get_dataset
from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import Floor
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Store

installed = pytest.mark.skipif(
    not any(folder.is_dir() for folder in fashion.USUAL), reason="there is no Fashion-MNIST on this machine"
)


@pytest.mark.parametrize(("name", "tokens", "samples"), [("fashion", 256, 10_000), ("fashion-cpu", 64, 2000)])
def test_twins_of_28_blocks_and_of_three(name, tokens, samples):
    suite = get_suite(name)
    dit, fpdm = suite.baseline.config, suite.subject.config
    assert (dit.depth, dit.n_pre, fpdm.n_pre, fpdm.n_post) == (28, None, 1, 1)
    assert dit.tokens == fpdm.tokens == tokens
    assert suite.evaluation.samples == samples
    assert suite.dataset == "fashion"
    protocol = get_cells("smoothing", suite, Selection())[0].protocol
    assert (protocol.reference_digest, protocol.extractor) == (get_dataset("fashion").digest, "fashion-cnn")


def test_the_floor_is_measured_beside_quality_as_quality_is():
    suite = get_suite("fashion-cpu")
    for grid, expected in (("smoothing", 1), ("all", 1), ("memory", 0)):
        cells = get_cells(grid, suite, Selection(samples=500))
        floors = [cell for cell in cells if isinstance(cell, Floor)]
        assert len(floors) == expected
    (floor,) = [cell for cell in get_cells("reuse", suite, Selection(samples=500)) if isinstance(cell, Floor)]
    assert floor.protocol == get_cells("reuse", suite, Selection(samples=500))[0].protocol
    assert floor.images_digest == get_dataset("fashion").held_out.digest
    assert replace(floor, protocol=replace(floor.protocol, samples=2000)).key != floor.key
    assert floor.row()["key"] == floor.key
    more_than_there_are = get_cells("reuse", suite, Selection(samples=20_002))
    assert not any(isinstance(cell, Floor) for cell in more_than_there_are)


def test_a_floor_of_half_as_many_images_is_measured_where_more_are_not_held_out():
    """Digits have 380: their floor compares with the halves of 750 samples."""
    for samples, count in ((750, 375), (380, 380), (381, 190), (761, 380), (762, 0)):
        cells = get_cells("reuse", get_suite("digits"), Selection(samples=samples))
        assert [cell.protocol.samples for cell in cells if isinstance(cell, Floor)] == [count] * bool(count)


def test_a_plan_for_a_gpu_reckons_with_one(tmp_path):
    suite = get_suite("fashion")
    cells = get_cells("smoothing", suite, Selection(seeds=(0,)))
    total = plan(suite, Store(tmp_path, "fashion"), cells, cells, Capacity(1, gpu=True))[-1]
    assert "2 runs to train, 20 min" in total
    assert "26,360 GMAC/s each (assumed of a V100)" in total  # 400,000 steps on 512 images in four days on eight


@installed
@pytest.mark.slow
def test_from_nothing_to_table_2(tmp_path, capsys):
    """Three training steps of small twins; the whole dataset as reference, the whole path."""
    flags = ["--suite", "fashion-cpu", "--size", "XS/8", "--grid", "datasets", "--budget", "12", "--samples", "30"]
    flags += ["--train-steps", "3", "--workers", "1", "--results", str(tmp_path)]
    assert run_grid.main(flags) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "fashion-cpu" / "records").iterdir()]
    assert {record["status"] for record in records} == {"done"}
    (floor,) = [record for record in records if record["cell"]["measure"] == "floor"]
    quality = [record for record in records if record["cell"]["measure"] == "quality"]
    assert {record["cell"]["model"] for record in quality} == {"dit", "fpdm"}
    assert all(record["metrics"]["fid"] > 5 * floor["metrics"]["fid"] for record in quality)
    assert floor["metrics"]["precision"] > 0.5
    assert {record["inputs"]["reference"] for record in quality} == {get_dataset("fashion").digest}
    assert not list((tmp_path / "fashion-cpu" / "partial").iterdir())
    (table,) = (tmp_path / "fashion-cpu" / "parts").rglob("table2.md")
    assert "fashion-cnn" in table.read_text()
    capsys.readouterr()
    assert run_grid.main(flags) == 0
    assert "nothing to evaluate" in capsys.readouterr().out


@pytest.mark.parametrize("grid", ["smoothing", "datasets"])
def test_a_dataset_that_is_not_there_is_missed_before_the_work(grid, tmp_path):
    flags = ["--suite", "fashion-cpu", "--grid", grid, "--data", str(tmp_path / "empty"), "--results", str(tmp_path)]
    with pytest.raises(run_grid.BadInputError, match=r"empty: no train-images-idx3-ubyte"):
        run_grid.main(flags)
    assert list(tmp_path.iterdir()) == []
