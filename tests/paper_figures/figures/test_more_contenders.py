"""A suite of three contenders: figures show each that has records."""

from dataclasses import replace

import pytest
from matplotlib.colors import to_hex

from bench.spec.contenders import Contender
from bench.spec.suites import SUITES, get_suite
from paper_figures import style
from paper_figures.figures import fig1_samples, fig4_smoothing, fig5_strips, fig8_11_uncurated, training_loss


@pytest.fixture
def evidence_of_three(write_records, tmp_path, monkeypatch):
    """Records of digits with a shallow DiT and a second FPDM: evidence_of_three("samples")."""
    suite = get_suite("digits")
    dit, fpdm = suite.baseline, suite.subject
    shallow = Contender("dit-3", replace(dit.config, depth=3), dit.recipe, "DiT-3", "#CC79A7", "^")
    deep = Contender("fpdm-2", replace(fpdm.config, n_pre=2), fpdm.recipe, "FPDM-2", "#009E73", "D")
    trio = replace(suite, name="more", contenders=(dit, fpdm, shallow, deep))
    monkeypatch.setitem(SUITES, "more", trio)
    return lambda grid: write_records(tmp_path, grid=grid, suite="more")


@pytest.fixture
def drawn(monkeypatch):
    """Figures by file name, instead of files."""
    figures = {}
    monkeypatch.setattr(style, "save", lambda figure, path: figures.setdefault(path.name, figure) and [path])
    return figures


def test_figure_4_and_the_loss_have_all_in_their_colors(evidence_of_three, drawn):
    evidence = evidence_of_three("smoothing")
    for module in (fig4_smoothing, training_loss):
        module.draw(evidence)
    legend = {text.get_text() for text in drawn["fig4_smoothing"].legends[0].get_texts()}
    assert {"DiT (28 blocks)", "DiT-3 (3 blocks)", "FPDM", "FPDM-2"} <= legend
    losses = drawn["training_loss"].axes
    assert [axis.get_title().partition(",")[0] for axis in losses] == ["DiT", "FPDM", "DiT-3", "FPDM-2"]
    for axes in (drawn["fig4_smoothing"].axes[:1], losses):
        colors = {to_hex(line.get_color()).upper() for axis in axes for line in axis.lines}
        assert {one.color for one in evidence.compared.contenders} <= colors


def test_strips_have_a_panel_for_each_that_iterates(evidence_of_three, drawn):
    fig5_strips.draw(evidence_of_three("smoothing"))
    columns = [[text.get_text().split("\n")[0] for text in axis.texts] for axis in drawn["fig5_strips"].axes]
    assert [names[:3] for names in columns] == [["DiT", "DiT-3", "1 iter."]] * 2
    assert [len(names) for names in columns] == [2 + 13, 2 + 13]


def test_samples_of_all_stand_side_by_side(evidence_of_three, drawn):
    evidence = evidence_of_three("samples")
    fig1_samples.draw(evidence)
    titles = [axis.get_title().partition(",")[0] for axis in drawn["fig1_samples"].axes]
    assert titles == ["DiT", "FPDM", "DiT-3", "FPDM-2"]
    names = {path.name for path in fig8_11_uncurated.draw(evidence)}
    assert names == {"fig8_11_more", "fig8_11_more_dit-3", "fig8_11_more_fpdm-2"}
