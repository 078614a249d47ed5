"""The memory table and figure from made-up records."""

from dataclasses import replace

import pytest
from made_up import rewrite, shown

from bench.spec.measurements import Footprint
from paper_figures import make_all
from paper_figures.beyond import memory as extra_memory
from paper_figures.claims.ledger import summary

GIB = 2**30


def peaks(evidence):
    """Records whose peaks are 40 GiB for DiT, m GiB (mean 6.5) for FPDM; half of it recomputed, and in sampling."""
    for cell in evidence.cells:
        mean = cell.unroll == "stochastic"
        peak = 40 if cell.model == "dit" else 6.5 if mean else cell.m or 3
        peak /= 1 + cell.grad_checkpointing + (cell.phase == "sampling")

        def metrics(record, peak=peak):
            return record.metrics | {"peak_bytes": int(peak * GIB)}

        evidence = rewrite(evidence, lambda c, cell=cell: c is cell, metrics=metrics)
    return evidence


def test_the_parts_the_published_and_what_is_saved(tmp_path, write_records):
    evidence = peaks(write_records(tmp_path, "memory"))
    table = shown(extra_memory, evidence)["memory"]
    assert len(table) == 28
    first = table[table.precision == "fp16"].iloc[:6]
    assert first.model.tolist() == [
        "DiT", "FPDM, m = 1", "FPDM, m = 3", "FPDM, m = 6", "FPDM, m = 12", "FPDM, mean over m = 1 to 12"
    ]  # fmt: skip
    assert first.checkpointing.unique().tolist() == ["off"]
    assert first["peak (GiB)"].tolist() == ["40.00", "1.00", "3.00", "6.00", "12.00", "6.50"]
    assert first["less than DiT"].tolist() == ["", "97.5%", "92.5%", "85.0%", "70.0%", "83.8%"]
    assert table["published (GB)"].tolist() == ["25.2", "", "", "", "10.2", *[""] * 23]
    assert table["gradients (GiB)"].unique().tolist() == ["0.50"]
    assert table.precision.tolist() == ["fp16"] * 12 + ["fp32"] * 12 + ["fp16"] * 2 + ["fp32"] * 2
    assert table["peak (GiB)"].tolist()[-2:] == ["20.00", "1.50"]
    text = evidence.path("tables", "memory.md").read_text()
    assert "not checked against a GPU" in text
    assert "None" not in text
    assert not [column for column in table if "measured" in column]


def test_what_a_gpu_measured_stands_beside(tmp_path, write_records):
    evidence = peaks(write_records(tmp_path, "memory", hardware="big GPU"))
    evidence = rewrite(
        evidence,
        lambda cell: cell.phase == "training" and cell.m == 12,
        metrics=lambda record: record.metrics | {"measured_peak_bytes": record.metrics["peak_bytes"] * 1.03},
    )
    table = shown(extra_memory, evidence)["memory"].set_index("model")
    assert table.loc["FPDM, m = 12", "measured (GiB)"].iloc[0] == "12.36"
    assert table.loc["FPDM, m = 12", "computed / measured"].iloc[0] == "0.971"
    assert table.loc["FPDM, m = 3", "measured (GiB)"].unique().tolist() == [""]
    text = evidence.path("tables", "memory.md").read_text()
    assert "on big GPU 12 of 28 were measured too (torch.cuda.max_memory_allocated), at most 2.9% apart" in text


@pytest.mark.parametrize(
    "kept",
    [
        lambda cell: cell.model == "fpdm",
        lambda cell: cell.model == "dit",
        lambda cell: cell.m == 3 and not cell.grad_checkpointing,
        lambda cell: cell.phase == "sampling",
    ],
    ids=["no DiT", "no FPDM", "one m", "sampling"],
)
def test_what_is_missing_leaves_gaps(kept, tmp_path, write_records):
    evidence = write_records(tmp_path, "memory", skip=lambda cell: not kept(cell))
    table = shown(extra_memory, evidence)["memory"]
    assert len(table) == sum(kept(cell) for cell in evidence.cells)
    both = {"DiT", "FPDM"} <= {model.partition(",")[0] for model in table.model}
    assert (table["less than DiT"].unique().tolist() == [""]) is not both
    assert "cells have no result yet" in evidence.path("tables", "memory.md").read_text()
    figure = evidence.path("figures", "memory.png")
    assert figure.exists() is ("training" in set(table.phase))


def test_without_records_nothing_is_drawn(tmp_path, write_records):
    assert extra_memory.draw(write_records(tmp_path, "memory", skip=lambda cell: True)) == []


def test_make_all_draws_a_grid_without_quality(tmp_path, write_records, capsys):
    evidence = write_records(tmp_path, "memory")
    assert evidence.caption == ""
    assert make_all.main(["--grid", "memory", "--results", str(tmp_path), "--print-table"]) == 0
    out = capsys.readouterr().out
    assert f"\n{extra_memory.TITLE}\n\n| phase" in out
    assert {path.name for path in (tmp_path / "digits/figures").iterdir()} == {"memory.png", "memory.pdf"}


def test_claims_take_table_1s_cells_though_others_are_of_the_same_size(tmp_path, write_records):
    """All but Table 1's would contradict 60% less."""
    evidence = write_records(tmp_path, "all", seeds=(0,))
    before = summary(evidence).set_index("claim").loc["Training takes 60% less memory"]
    table1 = {cell for cell in write_records(tmp_path / "other", "compute").cells if isinstance(cell, Footprint)}
    evidence = rewrite(
        replace(evidence),
        lambda cell: isinstance(cell, Footprint) and cell not in table1,
        metrics=lambda record: record.metrics | {"peak_bytes": 1},
    )
    after = summary(evidence).set_index("claim").loc["Training takes 60% less memory"]
    assert before.verdict == after.verdict == "confirmed"
