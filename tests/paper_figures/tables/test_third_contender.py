"""More contenders than the paper's two: a row or a column each where there are records, and nothing else changes."""

from dataclasses import replace

import pytest
from made_up import SEEDS, shown

from bench.spec.suites import SUITES, get_suite
from paper_figures.beyond import samplers
from paper_figures.claims.ledger import CLAIMS, judge
from paper_figures.tables import table1_compute, table2_datasets, table5_allocation

OTHERS = ("dit-7", "fpdm-2")


@pytest.fixture(autouse=True)
def four(monkeypatch):
    """digits with a DiT of 7 blocks and an FPDM of 2+k+2."""
    suite = get_suite("digits")
    shallow = replace(suite.baseline, name="dit-7", label="DiT-7", config=replace(suite.baseline.config, depth=7))
    thick = replace(
        suite.subject, name="fpdm-2", label="FPDM-2", config=replace(suite.subject.config, n_pre=2, n_post=2)
    )
    monkeypatch.setitem(SUITES, "digits", replace(suite, contenders=(shallow, suite.baseline, suite.subject, thick)))


def fid(cell):
    """DiT 4, FPDM 2 at 5 iterations; DiT-7 1, FPDM-2 3 at 8 iterations."""
    level = {"dit": 4.0, "fpdm": 2.0, "dit-7": 1.0, "fpdm-2": 3.0}[cell.run.model]
    chosen = {"fpdm": 5, "fpdm-2": 8}.get(cell.run.model, cell.iterations)
    return level * (1.0 if cell.iterations == chosen else 2.0)


def of_others(cell):
    return getattr(cell, "model", "") in OTHERS or (cell.run is not None and cell.run.model in OTHERS)


def test_each_has_a_row_in_table_1(tmp_path, write_records):
    tables = shown(table1_compute, write_records(tmp_path, "compute", seeds=SEEDS, fid=fid))
    table = tables["table1"].set_index(["block passes", "model"])
    assert table.loc["280"].index.tolist() == ["DiT-7", "DiT", "FPDM", "FPDM-2"]
    assert table.loc[("280", "DiT-7"), "FD (DDPM)"] == "1.000 ± 0.000"
    assert (
        table.loc[("280", "DiT-7"), "published FID (DDPM)"]
        == table.loc[("280", "FPDM-2"), "published FID (DDPM)"]
        == ""
    )
    assert table.loc["280", "iterations x steps (DDIM)"].tolist() == ["", "", "5 x 40", "8 x 23"]
    ratios = tables["table1_ratios"].set_index(["block passes", "sampler"])
    assert ratios.loc[("280", "DDPM"), "best FPDM / DiT"] == "0.50 (0.50 to 0.50, p = 0.25)"
    sizes = tables["table1_footprint"]
    assert sizes["model"].tolist() == ["DiT-7", "DiT", "FPDM", "FPDM-2", "DiT", "FPDM"]
    assert sizes["fewer by"].tolist() == ["60.0%", "", "60.0%", "60.0%", "", "60.0%"]
    assert ["n = " in step for step in sizes["training step"]] == [False, False, True, True, False, True]


def test_each_has_a_row_in_table_2_and_a_column_among_samplers(tmp_path, write_records):
    table = shown(table2_datasets, write_records(tmp_path, "datasets", seeds=SEEDS, fid=fid))["table2"]
    rows = table[table.dataset == "digits"].set_index("model")
    assert rows.FD.str[:5].to_dict() == {"DiT-7": "1.000", "DiT": "4.000", "FPDM": "2.000", "FPDM-2": "3.000"}
    assert rows["iterations x steps"].to_dict() == {"DiT-7": "", "DiT": "", "FPDM": "5 x 40", "FPDM-2": "8 x 23"}
    assert rows.verdict.to_dict() == {"DiT": "", "FPDM": "FPDM better", "DiT-7": "", "FPDM-2": ""}
    text = samplers.table_text(write_records(tmp_path / "samplers", "samplers", seeds=(0,), fid=fid))
    columns = [name.strip() for name in text.splitlines()[0].split("|")]
    assert {"DiT FD", "best FPDM FD", "DiT-7 FD", "best FPDM-2 FD", "iterations x steps, FPDM-2"} <= {*columns}


@pytest.mark.parametrize("module", [table1_compute, table2_datasets, table5_allocation])
def test_without_their_records_nothing_changes_but_the_sentence_on_missing_cells(
    module, tmp_path, write_records, monkeypatch
):
    def drawn(folder):
        evidence = write_records(tmp_path / folder, module.GRID, seeds=(0,), fid=fid, skip=of_others)
        return {path.name: path.read_text() for path in module.draw(evidence) if path.suffix == ".csv"}

    found = drawn("four")
    monkeypatch.setitem(SUITES, "digits", replace(SUITES["digits"], contenders=SUITES["digits"].contenders[1:3]))
    assert found == drawn("two")


def test_table_5_and_claims_are_of_the_subject(tmp_path, write_records):
    evidence = write_records(tmp_path, "allocation", seeds=SEEDS, fid=fid)
    table5 = shown(table5_allocation, evidence)["table5"].set_index("allocation")
    assert table5.loc["constant", "k = 5"].startswith("2.0")
    table1 = write_records(tmp_path / "compute", "compute", seeds=SEEDS, fid=fid)
    verdicts = {claim.statement: str(judge(claim, table1).verdict) for claim in CLAIMS}
    assert verdicts["FPDM is better at 280 block passes"] == "confirmed"
