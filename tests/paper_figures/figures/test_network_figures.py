"""Figures 2 and 3: blocks and schedules are those of the configurations."""

from dataclasses import replace

import pytest

from bench.spec.accounts import Account
from bench.spec.suites import get_suite
from models.diffusion.allocation import allocate
from models.diffusion.timesteps import select_timesteps
from paper_figures.figures import fig2_architecture, fig3_schedules


@pytest.mark.parametrize(("budget", "iterations"), [(140, 5), (280, 5), (280, 8), (280, 26), (560, 1)])
def test_schedules_are_the_real_ones_and_stay_within_the_budget(budget, iterations):
    suite = get_suite("digits")
    dit, *fpdm = fig3_schedules.schedules(suite, budget, iterations, Account())
    assert (dit.spent, dit.parts) == (budget, {"explicit": (28,) * (budget // 28)})
    assert [one.name for one in fpdm] == ["FPDM, constant", "FPDM, increasing", "FPDM, decreasing"]
    steps = budget // (iterations + 2)
    for one, name in zip(fpdm, ("constant", "increasing", "decreasing"), strict=True):
        assert one.timesteps == select_timesteps(steps)
        ones = (1,) * steps
        assert one.parts == {"pre": ones, "implicit": allocate(name, steps, iterations), "post": ones}
        assert budget - (iterations + 2) < one.spent <= budget


def test_networks_without_a_single_affordable_step_have_no_schedule():
    suite = get_suite("digits")
    assert [one.name[:4] for one in fig3_schedules.schedules(suite, 20, 8, Account())] == ["FPDM"] * 3
    assert fig3_schedules.schedules(suite, 5, 8, Account()) == []


def test_the_drawn_bars_are_the_schedule(evidence_of, monkeypatch):
    drawn = []
    monkeypatch.setattr(fig3_schedules.style, "save", lambda figure, path: drawn.append(figure) or [])
    fig3_schedules.draw(evidence_of("allocation"))
    panels = [axis for axis in drawn[0].axes if axis.patches]
    assert len(panels) == 4
    for axis in panels:
        bars = axis.patches
        assert sum(bar.get_height() for bar in bars) == 280
        assert "280 passes" in axis.get_title()
        first = max(bars, key=lambda bar: bar.get_x())
        assert first.get_x() + first.get_width() / 2 == 999
        left, right = axis.get_xlim()
        assert left > right  # from noise to image
    heights = {axis.get_title().split("\n")[0]: _tops(axis) for axis in panels}
    assert heights["FPDM, increasing"][0] < heights["FPDM, constant"][0] < heights["FPDM, decreasing"][0]
    assert heights["DiT"] == [28] * 10


def _tops(axis):
    """Top of the stack at each timestep, noisiest first."""
    tops = {}
    for bar in axis.patches:
        center = bar.get_x() + bar.get_width() / 2
        tops[center] = max(tops.get(center, 0), bar.get_y() + bar.get_height())
    return [tops[center] for center in sorted(tops, reverse=True)]


def test_figure_2_has_a_block_for_each_block_of_the_configuration(evidence_of, monkeypatch):
    suite = get_suite("digits")
    drawn = []
    monkeypatch.setattr(fig2_architecture.style, "save", lambda figure, path: drawn.append(figure) or [])
    changed = {"dit": {"depth": 12}, "fpdm": {"n_pre": 2, "n_post": 0}}
    contenders = [replace(one, config=replace(one.config, **changed.get(one.name, {}))) for one in suite.contenders]
    wider = replace(suite, contenders=tuple(contenders))
    for one in (suite, wider):
        fig2_architecture.draw(replace(evidence_of("smoothing"), sized=one))
    boxes = [sum(type(patch).__name__ == "FancyBboxPatch" for patch in figure.axes[0].patches) for figure in drawn]
    assert boxes == [28 + 2 * (1 + 1 + 1), 12 + 2 * (2 + 1 + 0)]
    texts = " ".join(text.get_text() for text in drawn[1].axes[0].texts)
    assert "DiT: 12 passes" in texts
    assert "FPDM: 2 + k + 0 passes" in texts
    assert "2 pre blocks" in texts
