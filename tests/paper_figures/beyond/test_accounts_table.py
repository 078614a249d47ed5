"""Table 1 under each account, from made-up records where the account decides who is ahead."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import SEEDS, shown

from paper_figures.beyond import accounts as extra_accounts
from paper_figures.claims.ledger import EQUAL_COMPUTE, judge
from paper_figures.evidence.criteria import Verdict
from paper_figures.make_all import main

NOISE = (0.997, 1.0, 1.003)  # what replicates differ by


def by_steps(cell):
    """DiT 10 at every budget; FPDM 300 / steps at 5 iterations, far off at others: fewer steps are worse."""
    if cell.run.model == "dit":
        return 10.0 * NOISE[cell.seed]
    return (300 / cell.steps if cell.iterations == 5 else 500.0) * NOISE[2 - cell.seed]


@pytest.fixture(scope="module")
def calibrated(write_records, tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("calibrated"), "accounts", seeds=SEEDS, fid=by_steps, calibrated=True)


def test_a_row_has_who_is_ahead_what_both_spend_and_whether_the_claim_holds(calibrated):
    """Steps at 5 iterations: 20, 40, 80 in blocks; 16, 32, 64 in MACs; 10, 20, 40 in seconds (28 ms against 14)."""
    table = shown(extra_accounts, calibrated)["accounts"].set_index(["equal in", "DiT passes", "sampler"])
    assert len(table) == 3 * 3 * 2
    ddim = table.xs("DDIM", level="sampler")
    assert ddim["iterations x steps"].tolist() == [
        "5 x 20", "5 x 40", "5 x 80", "5 x 16", "5 x 32", "5 x 64", "5 x 10", "5 x 20", "5 x 40",
    ]  # fmt: skip
    assert ddim["Table 1"].tolist() == ["FPDM better", "FPDM better", "comparable"] * 3
    assert ddim["holds with this sampler"].tolist() == [
        "no",
        "yes",
        "no",
        "no",
        "yes",
        "no",
        "no",
        "no",
        "yes",
    ]  # 3.75 is better than 10
    ratios = [float(text.split(" ")[0]) for text in ddim["best FPDM / DiT"]]
    assert ratios == pytest.approx([1.5, 0.75, 0.375, 1.875, 0.9375, 0.469, 3.0, 1.5, 0.75], abs=0.006)
    at_280 = ddim.xs("280", level="DiT passes")
    assert at_280["passes / image (DiT, FPDM)"].tolist() == ["280, 280", "280, 224", "280, 140"]
    assert at_280["ms / image (DiT, FPDM)"].tolist() == ["2.24, 4.48", "2.24, 3.58", "2.24, 2.24"]  # at batch 125
    cells = {c.steps: c.macs for c in calibrated.quality if (c.budget, c.iterations) == (280, 5)}
    dit = next(c.macs for c in calibrated.quality if c.budget == 280 and c.run.model == "dit")
    assert at_280["MMACs / image (DiT, FPDM)"].tolist() == [
        f"{dit / 1e6:.0f}, {cells[steps] / 1e6:.0f}" for steps in (40, 32, 20)
    ]
    assert cells[32] <= dit < cells[40]


def test_claims_are_judged_by_the_ledgers_rules_in_each_account(calibrated):
    table = shown(extra_accounts, calibrated)["accounts_claims"].set_index("claim")
    assert table.columns.tolist() == ["in block passes", "in MACs", "in seconds"]
    assert table.index.tolist() == [claim.statement for claim in EQUAL_COMPUTE]
    assert table.loc["FPDM is better at 140 block passes"].tolist() == ["contradicted"] * 3
    assert table.loc["FPDM is better at 280 block passes"].tolist() == ["confirmed", "confirmed", "contradicted"]
    assert table.loc["Comparable at 560 block passes"].tolist() == ["contradicted", "contradicted", "equivalent"]


def test_the_ledger_goes_by_one_account_though_all_are_among_its_cells(calibrated):
    """Half of FPDM's cells at 280 passes and 5 iterations are 1.5 times DiT, the other half 0.75."""
    claim = EQUAL_COMPUTE[1]
    assert judge(claim, calibrated).verdict is Verdict.CONFIRMED
    assert len(calibrated.accounted.quality) == 144
    seconds = replace(calibrated, selection=replace(calibrated.selection, account="seconds"))
    assert judge(claim, seconds).verdict is Verdict.CONTRADICTED


def test_the_figure_has_each_ratio_filled_where_table_1_holds(calibrated, monkeypatch):
    drawn = []
    monkeypatch.setattr(extra_accounts.style, "save", lambda figure, path: drawn.append(figure) or [])
    extra_accounts.draw(calibrated)
    (figure,), table = drawn, extra_accounts.summary(calibrated)
    assert [axis.get_title() for axis in figure.axes] == ["DDPM", "DDIM"]
    for axis, sampler in zip(figure.axes, ("ddpm", "ddim"), strict=True):
        rows = table[table.sampler == sampler]
        for name, (color, marker) in extra_accounts.LOOKS.items():
            lines = [ln for ln in axis.lines if ln.get_marker() == marker and ln.get_color() == color]
            for line in (line for line in lines if line.get_label().startswith("_")):
                filled = line.get_markerfacecolor() == color
                some = rows[(rows.account == name) & ((rows.holds == "yes") == filled)]
                assert line.get_ydata().tolist() == some.ratio.tolist()
                assert np.round(line.get_xdata()).tolist() == [(140, 280, 560).index(b) for b in some.budget]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "published", "equal block passes", "equal MACs", "equal seconds", "Table 1 holds",
        "does not, or is undecided", "what Table 1 says",
    ]  # fmt: skip


def test_without_a_calibration_seconds_are_left_out_and_it_says_so(tmp_path, write_records, capsys):
    evidence = write_records(tmp_path, "accounts", seeds=(0,), fid=by_steps)
    tables = shown(extra_accounts, evidence)
    assert tables["accounts"]["equal in"].unique().tolist() == ["block passes", "MACs"]
    assert not any("ms / image" in name for name in tables["accounts"])
    assert tables["accounts_claims"].columns.tolist() == ["claim", "in block passes", "in MACs"]
    assert "Seconds are not calibrated here." in evidence.path("tables", "accounts.md").read_text()


def test_drawn_from_the_calibration_that_is_kept(tmp_path, write_records, capsys):
    """On whatever machine: nothing is evaluated."""
    write_records(tmp_path, "accounts", seeds=(0,), fid=by_steps, calibrated=True, hardware="slide rule")
    assert main(["--results", str(tmp_path), "--seeds", "0", "--grid", "accounts"]) == 0
    text = (tmp_path / "digits/parts/seeds-0/tables/accounts.md").read_text()
    assert "Seconds as calibrated on slide rule, at batch 125." in text
    assert "cells missing" not in capsys.readouterr().out


def test_other_accounts_are_named_where_budgets_are(tmp_path, write_records, capsys):
    evidence = write_records(tmp_path, "smoothing", seeds=(0,), account="macs")
    assert {c.steps for c in evidence.quality if (c.budget, c.iterations) == (280, 5)} == {32}
    flags = ["--results", str(tmp_path), "--seeds", "0", "--account", "macs"]
    assert main([*flags, "--grid", "smoothing", "--print-table"]) == 0
    printed = capsys.readouterr().out
    assert "what DiT spends on so many block passes, in MACs" in printed
    assert "|   DiT passes |" in printed
    assert "|   block passes |" not in printed
    folder = tmp_path / "digits/parts/account-macs-seeds-0/tables"
    assert (folder / "smoothing.md").read_text().startswith("|   DiT passes | model")
    assert (tmp_path / "digits/parts/account-macs-seeds-0/figures/fig4_smoothing.png").exists()
