"""The distance in a second extractor's features stands in a column of its own, where records have it."""

from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
from made_up import SEEDS, flat, shown

from bench.spec.extractors import DINOV2, INCEPTION
from bench.spec.reference import Reference
from bench.store.references import write_reference
from bench.store.second import with_distance
from paper_figures.figures import fig4_smoothing
from paper_figures.tables import table1_compute, table2_datasets

NETWORK, FACTOR = "dinov2-vit-l-14", 100
NOTE = f"FD (DINOv2): Fréchet distance of the same samples in {NETWORK} features; schedules are chosen by FD."
OWN = Reference("celebahq", 30_000, 256, "ab" * 32, INCEPTION, "0" * 16)


@pytest.fixture
def of_faces(tmp_path, write_records):
    """Writes records of celebahq, whose results have references, without a second extractor."""
    write_reference(tmp_path / "celebahq", OWN)
    write_reference(tmp_path / "celebahq", replace(OWN, extractor=NETWORK, extractor_digest="1" * 16), DINOV2)
    return partial(write_records, tmp_path, fid=flat, suite="celebahq")


def judged(evidence, chosen=lambda cell: True, **changes):
    """The evidence with records of cells that a second extractor judged too: FACTOR times the suite's own distance."""
    for cell in filter(chosen, evidence.quality):
        (fuller,) = with_distance(cell, evidence.store.root)
        record = evidence.store.read(cell)
        metrics = record.metrics | {"fd_dinov2": FACTOR * record.metrics["fid"]}
        inputs = record.inputs | {"second_reference": "s", "second_extractor": "1" * 16}
        new = replace(record, key=fuller.key, cell=fuller.spec(), metrics=metrics, inputs=inputs)
        evidence.store.write(replace(new, **changes))
    return replace(evidence)


@pytest.fixture
def evidence(of_faces):
    return of_faces("compute", seeds=SEEDS)


def test_table_1_has_it_beside_fd_of_the_same_cells(evidence):
    columns = [*shown(table1_compute, evidence)["table1"]]
    assert not [name for name in columns if "DINOv2" in name]
    found = judged(evidence)
    tables = shown(table1_compute, found)
    table = tables["table1"].set_index(["block passes", "model"])
    assert {name for name in table if "DINOv2" in name} == {"FD (DINOv2, DDPM)", "FD (DINOv2, DDIM)"}
    assert [name for name in table if "DINOv2" not in name] == [name for name in columns if name in table]
    machine = pd.read_csv(found.path("tables", "table1.csv"))
    for model in ("dit", "fpdm"):
        assert machine[f"{model}_fd_dinov2"].to_numpy() == pytest.approx(FACTOR * machine[f"{model}_fd"], rel=1e-4)
        assert machine[f"{model}_fd_dinov2_half"].to_numpy() == pytest.approx(
            FACTOR * machine[f"{model}_half"], rel=1e-4
        )
    at_280 = machine[(machine.budget == 280) & (machine.sampler == "ddim")].iloc[0]
    text = table.loc[("280", "FPDM"), "FD (DINOv2, DDIM)"]
    assert text == f"{at_280.fpdm_fd_dinov2:.3f} ± {at_280.fpdm_fd_dinov2_half:.3f}"
    assert NOTE in found.path("tables", "table1.md").read_text()


def test_cells_without_it_leave_the_column_empty_and_keep_their_fd(evidence):
    before = shown(table1_compute, evidence)["table1"].set_index(["block passes", "model"])
    found = judged(evidence, lambda cell: cell.run.model == "dit")
    table = shown(table1_compute, found)["table1"].set_index(["block passes", "model"])
    assert table.loc[("280", "DiT"), "FD (DINOv2, DDPM)"] != ""
    assert table.loc[("280", "FPDM"), "FD (DINOv2, DDPM)"] == ""
    assert table["FD (DDPM)"].tolist() == before["FD (DDPM)"].tolist()


def test_a_cell_that_diverged_has_diverged_there_too(evidence):
    lost = {"status": "diverged", "reason": "nan", "metrics": {}, "cost": {}, "timing": {}}
    found = judged(judged(evidence), lambda cell: cell.run.model == "dit", **lost)
    table = shown(table1_compute, found)["table1"].set_index(["block passes", "model"])
    assert table.loc[("140", "DiT"), ["FD (DDPM)", "FD (DINOv2, DDPM)"]].tolist() == ["diverged", "diverged"]
    assert table.loc[("140", "FPDM"), "FD (DINOv2, DDPM)"] not in ("", "diverged")


def test_table_2_has_it_for_the_suites_that_have_it(tmp_path, write_records, of_faces):
    digits = write_records(tmp_path, "datasets", seeds=SEEDS, fid=flat)
    faces = of_faces("datasets", seeds=(0,))
    assert "FD (DINOv2)" not in shown(table2_datasets, digits)["table2"]
    judged(faces)
    table = shown(table2_datasets, replace(digits))["table2"].set_index(["dataset", "model"])
    for model in ("DiT", "FPDM"):
        fd, second = (float(table.loc[("CelebA-HQ", model), name]) for name in ("FD", "FD (DINOv2)"))
        assert second == pytest.approx(FACTOR * fd, abs=0.1)
        assert table.loc[("digits", model), "FD (DINOv2)"] == ""
    assert NOTE in digits.path("tables", "table2.md").read_text()


def test_figure_4s_tables_have_it(of_faces, unsaved_figures):
    tables = shown(fig4_smoothing, judged(of_faces("smoothing", seeds=(0,), budgets=(140,))))
    assert {name: [one for one in table if "DINOv2" in one] for name, table in tables.items()} == {
        "smoothing": ["FD (DINOv2)"],
        "smoothing_best": ["DiT FD (DINOv2)", "best FPDM FD (DINOv2)"],
    }
