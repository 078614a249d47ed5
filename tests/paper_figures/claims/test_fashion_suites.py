"""What newer records have and digits' do not: precision, recall, peak memory, a floor; and suites of one replicate."""

import math
from itertools import product

import numpy as np
import pytest
from made_up import SEEDS, flat, rewrite, shown

from bench.spec.measurements import Floor
from paper_figures.claims import ledger as claims
from paper_figures.figures import fig4_smoothing, fig5_strips, fig7_prepost
from paper_figures.tables import table1_compute, table2_datasets, table3_unroll, table5_allocation

FLOOR = "floor: FD 0.312 of 2,000 real images that nothing was trained on"
ON_ITS_OWN = "on the very samples that score it"


@pytest.fixture(scope="module")
def smoothing(tmp_path_factory, write_records):
    return write_records(tmp_path_factory.mktemp("fashion"), suite="fashion-cpu", seeds=(0,))


def drawn_labels(evidence, monkeypatch):
    """What the legend of Figure 4 names."""
    found = []
    monkeypatch.setattr(
        fig4_smoothing.style, "shared_legend", lambda _, axes: found.extend(axes[0].get_legend_handles_labels()[1])
    )
    fig4_smoothing.draw(evidence)
    return found


def test_precision_recall_and_peak_memory_where_records_have_them(smoothing, tmp_path, write_records):
    tables = shown(fig4_smoothing, smoothing)
    heads = tables["smoothing"].columns.tolist()
    assert heads[heads.index("KID") :][:3] == ["KID", "precision", "recall"]
    assert set(tables["smoothing"].precision) == {"0.800"}
    text = smoothing.path("tables", "smoothing.md").read_text()
    assert "Precision: share of samples near a real image" in text
    assert text.endswith("Peak memory of a cell: 1.7 GiB resident.\n")  # at 68 iterations
    assert smoothing.path("tables", "smoothing.tex").read_text().count(r"Kynk\"a\"anniemi") == 1
    assert "Precision" in smoothing.path("tables", "smoothing_best.md").read_text()
    older = write_records(tmp_path, seeds=(0,))
    assert "precision" not in shown(fig4_smoothing, older)["smoothing"]
    assert "Peak memory" not in older.path("tables", "smoothing.md").read_text()


def test_memory_of_a_device_stands_beside_the_hosts(smoothing):
    timing = {"host_peak_gib": 2.5, "device_peak_gib": 0.75, "threads": 1, "workers": 1}
    frame = smoothing.frame.assign(**timing)
    smoothing = rewrite(smoothing, lambda cell: False)
    smoothing.__dict__["frame"] = frame
    assert smoothing.peak_memory == "Peak memory of a cell: 2.5 GiB resident, 0.8 GiB of tensors on its device."


def test_a_diverged_cell_has_no_precision(tmp_path, write_records):
    evidence = write_records(tmp_path, "datasets", suite="fashion-cpu", seeds=(0,))
    lost = {"status": "diverged", "metrics": {}, "cost": {}, "timing": {}}
    evidence = rewrite(evidence, lambda cell: cell.run is not None and cell.run.model == "dit", **lost)
    table = shown(table2_datasets, evidence)["table2"].set_index(["dataset", "model"])
    row = table.loc[("Fashion-MNIST (fashion-cpu)", "DiT")]
    assert row[["FD", "KID", "precision"]].tolist() == ["diverged", "diverged", ""]


def test_the_floor_is_in_the_caption_where_it_was_measured(smoothing, tmp_path, write_records):
    assert smoothing.floor["fid"] == 0.3125
    assert FLOOR in smoothing.caption
    without = write_records(tmp_path, suite="fashion-cpu", seeds=(0,), skip=lambda cell: isinstance(cell, Floor))
    assert without.floor == {}
    assert "floor" not in without.caption
    assert len(without.absent) == 1


@pytest.mark.parametrize(("floor", "drawn"), [(0.3, True), (1e-9, False)])
def test_the_floor_is_drawn_unless_it_would_flatten_the_curves(smoothing, monkeypatch, floor, drawn):
    smoothing = rewrite(
        smoothing, lambda cell: isinstance(cell, Floor), metrics={"fid": floor, "precision": 0.9, "recall": 0.8}
    )
    assert ("real images (test split)" in drawn_labels(smoothing, monkeypatch)) == drawn
    assert f"floor: FD {floor:.3g} of" in smoothing.caption  # either way


def test_precision_and_recall_stand_beside_those_of_the_floor(smoothing):
    shares = {"precision": 0.88, "recall": 0.85}
    smoothing = rewrite(smoothing, lambda cell: isinstance(cell, Floor), metrics={"fid": 0.1} | shares)
    smoothing = rewrite(
        smoothing,
        lambda cell: not isinstance(cell, Floor) and cell.measure == "quality",
        metrics=lambda record: record.metrics | {"precision": 0.7, "recall": 0.2},
    )
    assert smoothing.shares_note.endswith("higher is better. Of the floor's 2,000 images: 0.880, 0.850.")


def test_curves_keep_half_of_the_axis():
    """Curves from 2 to 8: an axis that is twice as high goes down to 0.5."""
    values = np.array([2.0, 8.0, math.inf])
    assert fig4_smoothing._leaves_room(0.51, values)
    assert not fig4_smoothing._leaves_room(0.49, values)
    assert fig4_smoothing._leaves_room(5.0, values)
    assert fig4_smoothing._leaves_room(10.0, values)


def test_one_replicate_chooses_on_its_own_samples_and_says_so(smoothing, tmp_path, write_records):
    assert "replicate 0 (no interval)" in smoothing.caption
    assert ON_ITS_OWN in smoothing.choice
    assert "flatters FPDM" in smoothing.choice
    several = write_records(tmp_path, "datasets", seeds=SEEDS)
    assert several.choice.startswith("FPDM's schedule is chosen, for each replicate, on the others, among 1, 2")
    assert "replicates 0, 1, 2 (with 95% intervals)" in several.caption


@pytest.mark.parametrize("module", [table5_allocation, fig7_prepost, table1_compute, table3_unroll])
def test_notes_of_one_replicate_tell_nothing_of_intervals(module, tmp_path, write_records):
    evidence = write_records(tmp_path, module.GRID, suite="fashion-cpu", seeds=(0,), fid=flat)
    texts = [path.read_text() for path in module.draw(evidence) if path.suffix == ".md"]
    assert texts
    for text, words in product(texts, ("of twenty", "95%", "±", "on the others", "nan")):
        assert words not in text


def test_the_ledger_of_one_replicate(smoothing):
    text = claims.ledger(smoothing, claims.summary(smoothing))
    assert "of one replicate: they have no interval" in text
    assert ON_ITS_OWN in text
    assert "95%" not in text
    assert "grid of one training seed was known by then" not in text  # true of digits only


def test_suites_of_one_dataset_are_told_apart(tmp_path, write_records):
    """FPDM of fashion-cpu is 3 at 1 iteration, 1 at 5; its precision is that of the schedule that was chosen."""

    def fid(cell):
        return 2.0 if cell.run.model == "dit" else {1: 3.0, 5: 1.0}.get(cell.iterations, 4.0)

    digits = write_records(tmp_path, "datasets", seeds=SEEDS, fid=flat)
    assert {"KID", "precision"}.isdisjoint(shown(table2_datasets, digits)["table2"].columns)
    small = write_records(tmp_path, "datasets", suite="fashion-cpu", seeds=(0,), fid=fid)
    rewrite(
        small,
        lambda cell: cell.run is not None and cell.iterations == 5,
        metrics=lambda record: record.metrics | {"precision": 0.91, "kid": 0.5},
    )
    write_records(tmp_path, "datasets", suite="fashion", seeds=SEEDS, fid=fid)
    table = shown(table2_datasets, digits)["table2"].set_index(["dataset", "model"])
    assert list(dict.fromkeys(table.index.get_level_values(0)))[4:] == [
        "digits", "Fashion-MNIST (fashion)", "Fashion-MNIST (fashion-cpu)"
    ]  # fmt: skip
    row = table.loc[("Fashion-MNIST (fashion-cpu)", "FPDM")]
    assert row[["FD", "KID", "precision", "recall"]].tolist() == ["1.000", "0.500", "0.910", "0.400"]
    assert row[["best FPDM / DiT", "verdict"]].tolist() == ["0.50 (no interval)", "one replicate, no verdict"]
    assert table.loc[("Fashion-MNIST (fashion)", "DiT"), "FD"] == "2.000 ± 0.000"
    assert table.loc[("digits", "DiT"), ["precision", "recall"]].tolist() == ["", ""]
    text = digits.path("tables", "table2.md").read_text()
    assert ON_ITS_OWN in text.split("fashion-cpu: 2,000 samples")[1]
    assert FLOOR in text


def test_strips_of_larger_images(smoothing):
    (_, images), *_ = fig5_strips.strips(smoothing)
    assert images.shape == (10, 1, 32, 32)
    assert {path.name for path in fig5_strips.draw(smoothing)} == {"fig5_strips.png", "fig5_strips.pdf"}
