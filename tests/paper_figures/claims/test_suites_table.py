"""Claims by suite, from made-up pairs of suites of which it is known where they agree and where they lean apart."""

import pandas as pd
import pytest
from made_up import noise

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Store
from paper_figures.claims import by_suite as extra_suites
from paper_figures.claims.by_suite import Standing, agreement
from paper_figures.claims.findings import judged
from paper_figures.claims.ledger import CLAIMS, OWN_CLAIMS, judge
from paper_figures.evidence.criteria import Verdict, below, within
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio

C, X, I, U = Verdict.CONFIRMED, Verdict.CONTRADICTED, Verdict.INCONCLUSIVE, Verdict.UNTESTED  # noqa: E741


def ahead(cell):
    """FPDM half of DiT at each budget, whatever the replicate."""
    return noise(cell, 1e-3) * (2.0 if cell.run.model == "dit" else 1.0)


def behind_at_280(cell):
    """The same, but at 280 passes three times DiT."""
    return ahead(cell) * (6.0 if cell.run.model == "fpdm" and cell.budget == 280 else 1.0)


def everything(results, suite="digits"):
    """The evidence of all grids, as the claims are judged on it."""
    return Evidence(suite, "all", get_cells("all", get_suite(suite), Selection()), Store(results, suite), "command")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_records):
    """Three replicates of digits, with the grid of allocations; one of fashion-cpu, without."""
    results = tmp_path_factory.mktemp("pair")
    for grid in ("smoothing", "compute", "allocation"):
        write_records(results, grid, seeds=(0, 1, 2), fid=ahead, skip=lambda cell: cell.measure == "images")
    for grid in ("smoothing", "compute"):
        write_records(results, grid, seeds=(0,), fid=behind_at_280, suite="fashion-cpu")
    return results


def test_where_two_suites_agree_and_where_not(folder):
    evidence = everything(folder)
    paths = extra_suites.draw(evidence)
    assert [path.name for path in paths] == ["suites.csv", "suites.md", "suites.tex"]
    lines = [line.strip("|").split("|") for line in paths[1].read_text().splitlines() if line.startswith("|")]
    rows = {claim.strip(): [value.strip() for value in values] for claim, *values in lines}
    assert rows["claim"] == ["digits", "fashion-cpu", "agree"]
    ours = [f"{claim.statement} (ours)" for claim in OWN_CLAIMS]
    assert list(rows)[2:] == [*(claim.statement for claim in CLAIMS), *ours]
    assert all(rows[claim] == ["not tested"] * 3 for claim in ours)  # no control has a record
    assert rows["FPDM is better at 140 block passes"] == ["confirmed", "inconclusive, leans to confirmed", "lean alike"]
    assert rows["FPDM is better at 280 block passes"] == [
        "confirmed", "inconclusive, leans to contradicted (DDIM: FPDM/DiT 3.00)", "lean apart"
    ]  # fmt: skip
    assert rows["Training takes 60% less memory"] == ["confirmed", "confirmed", "computed of XL/2"]
    (allocation,) = (row for claim, row in rows.items() if claim.startswith("Increasing"))
    assert allocation[1:] == ["not tested", "not tested in fashion-cpu"]
    assert rows["1-step JFB fails"] == ["not tested"] * 3
    text = paths[1].read_text()
    assert "A lean is no result" in text
    assert "In fashion-cpu, FPDM's schedule is chosen on the very samples that score it" in text
    assert "fashion-cpu: 2,000 samples a replicate, replicate 0 (no interval)" in text
    machine = pd.read_csv(paths[0]).set_index(["claim", "suite"])
    assert machine.loc[("FPDM is better at 280 block passes", "fashion-cpu"), ["verdict", "lean"]].tolist() == [I, X]


def test_the_suite_that_is_drawn_comes_first(folder):
    path = extra_suites.draw(everything(folder, "fashion-cpu"))[1]
    assert path.parent.parent.name == "fashion-cpu"
    assert [name.strip() for name in path.read_text().splitlines()[0].strip("|").split("|")] == [
        "claim", "fashion-cpu", "digits", "agree"
    ]  # fmt: skip


def test_one_suite_alone_or_other_cells_than_the_default_are_not_drawn(tmp_path, folder, write_records):
    write_records(tmp_path, "datasets", seeds=(0, 1, 2))
    write_records(tmp_path, "memory", suite="fashion-cpu")  # no quality
    assert extra_suites.draw(everything(tmp_path)) == []
    evidence = everything(folder)
    variant = Evidence("digits", "all", evidence.cells, evidence.store, "command", variant="budget-280")
    assert extra_suites.draw(variant) == []


def test_a_lean_leaves_verdicts_as_they_are(folder):
    evidence = everything(folder, "fashion-cpu")
    (claim,) = (claim for claim in CLAIMS if claim.statement == "FPDM is better at 280 block passes")
    found = judge(claim, evidence)
    assert [found.verdict, found.lean] == [I, X]


@pytest.mark.parametrize(
    ("standings", "answer"),
    [
        ([(C, C), (C, C)], "yes"),
        ([(X, X), (X, X), (X, X)], "yes"),
        ([(C, C), (X, X)], "no"),
        ([(C, C), (I, C), (X, X)], "no"),
        ([(C, C), (I, C)], "lean alike"),
        ([(I, X), (I, X)], "lean alike"),
        ([(C, C), (I, X)], "lean apart"),
        ([(I, C), (I, X), (I, I)], "lean apart"),
        ([(C, C), (I, I)], "undecided"),
        ([(C, C), (U, U)], "not tested in b"),
        ([(C, C), (U, U), (U, U)], "not tested in b, c"),
        ([(C, C), (U, U), (C, C)], "yes"),
        ([(U, U), (U, U)], "not tested"),
    ],
)
def test_agreement_is_over_the_suites_that_tested_a_claim(standings, answer):
    assert agreement({name: Standing(*one) for name, one in zip("abc", standings, strict=False)}) == answer


def test_a_standing_in_words():
    assert [str(Standing(*one)) for one in ((C, C), (U, U), (I, I), (I, X, "a/b 1.20"))] == [
        "confirmed", "not tested", "inconclusive, undecided", "inconclusive, leans to contradicted (a/b 1.20)"
    ]  # fmt: skip


def test_the_direction_of_a_lean_is_the_ratio_farthest_on_the_wrong_side():
    """Of 0.5 and 1.8, wanted within a factor of 1.5, 0.5 is farther from 1; 1.2 is within."""
    wide = {name: Ratio(value, value / 9, value * 9) for name, value in {"a": 0.5, "b": 1.8, "c": 1.2}.items()}
    found, other = judged("", (within(1.5), wide)), judged("", (below, {"a": wide["a"]}))
    assert (found.verdict, found.lean, found.against) == (I, X, "a 0.50")
    assert (other.verdict, other.lean, other.against) == (I, C, "")
