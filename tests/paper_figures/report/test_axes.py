"""Records behind numbers of every kind of table: those that a number is the mean of, or a choice or ratio among."""

import re

import numpy as np
import pytest
from made_up import noise

from bench.store.table import load
from paper_figures.beyond import samplers, solvers
from paper_figures.controls import contenders, equal_timesteps
from paper_figures.figures import fig6a_reuse, fig7_prepost
from paper_figures.report.axes import Axes
from paper_figures.report.made import Numbered
from paper_figures.report.parts import part
from paper_figures.report.records import entries
from paper_figures.report.tables import marked, read
from paper_figures.tables import table3_unroll, table4_gradients, table5_allocation

SLOW = (table3_unroll, table4_gradients, fig7_prepost, solvers, samplers, contenders, equal_timesteps)
BUDGETS = {contenders: (280,), samplers: (140,)}
FD = re.compile(r"\bFD\b")
# table and column -> that its number is a choice among the records, not their mean
CHOSEN = {("samplers", "best FPDM FD"), ("controls_best", "best FPDM FD"), ("controls_best", "its FD")}
SEVERAL = {"FPDM", "Looped", "DiT, cached", "FPDM, mixed", "best shallow DiT", "strongest control"}


@pytest.mark.parametrize(
    "module",
    [
        table5_allocation,
        fig6a_reuse,
        *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW),
    ],
    ids=lambda module: module.__name__.rpartition(".")[2],
)
def test_fds_are_of_the_records_behind_them(module, tmp_path, write_records, unsaved_figures):
    fid = lambda cell: noise(cell, 1.5)  # noqa: E731, no two cells are alike
    evidence = write_records(tmp_path, module.GRID, seeds=(0, 1), fid=fid, budgets=BUDGETS.get(module))
    known = entries(evidence.store.records(), load(evidence.store.root))
    seen = 0
    for path in part(module, module.TITLE, evidence, module.draw(evidence)).files(".md"):
        headings, _, rows, _ = read(path)
        for row, keys in zip(rows, Axes(evidence, known).of_table(headings, rows), strict=True):
            for heading, text, behind in zip(headings, row, keys, strict=True):
                about = row[0] if headings[0].startswith("M = N") else heading
                fd = FD.search(about) or (headings[0] == "allocation" and "published" not in row[0])
                if not fd or "/" in about or not re.match(r"\d+\.\d+ ± ", text):
                    continue
                found = [known[key].record.metrics["fid"] for key in behind]
                value = float(text.split()[0])
                one_of = (path.stem, heading) in CHOSEN or (path.stem == "controls" and row[2] in SEVERAL)
                if one_of:
                    assert min(found) < value < max(found)
                else:
                    assert len(found) == 2, (path.stem, heading, row)
                    assert np.mean(found) == pytest.approx(value, abs=6e-4)
                seen += 1
    assert seen > 3


@pytest.mark.slow
def test_ratios_rest_on_both_sides(tmp_path, write_records, unsaved_figures):
    evidence = write_records(tmp_path, contenders.GRID, seeds=(0, 1), budgets=(280,))
    known = entries(evidence.store.records(), load(evidence.store.root))
    (path,) = (one for one in contenders.draw(evidence) if one.name == "controls.md")
    headings, _, rows, _ = read(path)
    keys = Axes(evidence, known).of_table(headings, rows)
    (place,) = (i for i, row in enumerate(rows) if row[1:3] == ["DDIM", "DiT-3"] or row[:2] == ["DDIM", "DiT-3"])

    def labels(heading):
        return {known[key].row["label"] for key in keys[place][headings.index(heading)]}

    assert labels("FD") == {"DiT-3"}
    assert labels("FD / DiT") == {"DiT-3", "DiT"}
    assert labels("FD / best FPDM") == {"DiT-3", "FPDM"}


def test_descriptions_are_numbered_once_and_tell_what_they_share():
    numbered = Numbered()
    given = [{"torch": "2", "threads": 1}, {"torch": "2", "threads": 2}, {"threads": 1, "torch": "2"}]
    assert [numbered.number(one) for one in given] == [1, 2, 1]
    assert (numbered.shared, numbered.apart) == ({"torch": "2"}, ["threads"])


def test_text_is_no_markup_but_for_code():
    assert marked("a < b & `x<y>`") == "a &lt; b &amp; <code>x&lt;y&gt;</code>"
