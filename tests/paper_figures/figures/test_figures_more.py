"""Figures 1-3, 5-12: the data behind them, and that each is drawn, alike again, from whatever records there are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_up import diverge

from bench.spec.accounts import Account
from bench.spec.suites import get_suite
from models.diffusion.allocation import allocate
from models.diffusion.timesteps import select_timesteps
from paper_figures.beyond import accounts as extra_accounts
from paper_figures.figures import (
    contact_sheet,
    fig1_samples,
    fig2_architecture,
    fig3_schedules,
    fig4_smoothing,
    fig5_strips,
    fig6a_reuse,
    fig6bc_convergence,
    fig7_prepost,
    fig8_11_uncurated,
    fig12_comparison,
    training_loss,
)

FILES = {
    fig1_samples: {"fig1_samples"},
    fig2_architecture: {"fig2_architecture"},
    fig3_schedules: {"fig3_schedules"},
    fig4_smoothing: {"fig4_smoothing", "smoothing", "smoothing_best"},
    fig5_strips: {"fig5_strips"},
    fig6a_reuse: {"fig6a_reuse", "reuse"},
    fig6bc_convergence: {"fig6b_convergence", "fig6c_convergence"},
    fig7_prepost: {"fig7_prepost", "prepost"},
    fig8_11_uncurated: {"fig8_11_digits"},
    fig12_comparison: {"fig12_comparison"},
    training_loss: {"training_loss"},
    extra_accounts: {"accounts", "accounts_claims"},
}
WITHOUT_RECORDS = {fig2_architecture, fig3_schedules, training_loss}  # drawn from configurations, or training logs


@pytest.fixture(scope="module")
def evidence_of(write_records, tmp_path_factory):
    """Complete records of a grid, made once: evidence_of("samples")."""
    made = {}

    def make(grid):
        if grid not in made:
            made[grid] = write_records(tmp_path_factory.mktemp(grid), grid=grid)
        return made[grid]

    return make


def name_of(module):
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_is_row_major_and_loses_nothing(channels):
    images = np.random.default_rng(0).integers(0, 255, (7, channels, 4, 5), dtype=np.uint8)
    sheet = contact_sheet.contact_sheet(images, columns=3, separator=2)
    assert sheet.shape == (3 * 4 + 2 * 2, 3 * 5 + 2 * 2, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        found = sheet[row * 6 : row * 6 + 4, column * 7 : column * 7 + 5]
        assert (found == image.transpose(1, 2, 0)).all(), i
    rest = sheet[12:, 7:]  # beside the seventh image, alone in its row
    assert (rest == contact_sheet.LINE).all()
    assert (sheet[4:6] == contact_sheet.LINE).all()
    assert (sheet[:, 5:7] == contact_sheet.LINE).all()


def test_enlarged_pixels_are_squares():
    images = np.random.default_rng(0).integers(0, 255, (2, 1, 8, 8), dtype=np.uint8)
    large = contact_sheet.enlarge(images)
    factor = large.shape[-1] // 8
    assert large.shape == (2, 1, 8 * factor, 8 * factor)
    assert large.shape[-1] >= contact_sheet.LEAST_PX
    for offset in (0, factor - 1):
        assert (large[:, :, offset::factor, offset::factor] == images).all()
    assert contact_sheet.enlarge(np.zeros((1, 3, 256, 256), np.uint8)).shape == (1, 3, 256, 256)


def test_samples_are_captioned_with_their_schedule_and_protocol(evidence_of):
    evidence = evidence_of("samples")
    guided = {model: evidence.images(model=model, guidance=4.0) for model in ("dit", "fpdm")}
    titles = [contact_sheet.schedule(guided[model][0][0]) for model in ("dit", "fpdm")]
    assert titles == ["DiT, 20 steps of 28 blocks", "FPDM, 56 steps of 8 iterations"]
    text = contact_sheet.caption(evidence, guided["dit"][0][0], 20)
    assert "first 20 samples of seed 0" in text
    assert "560 block passes" in text
    assert "guidance 4," in text
    assert "no guidance" in contact_sheet.caption(evidence, evidence.images(guidance=1.0)[0][0], 24)


@pytest.mark.parametrize(("budget", "iterations"), [(140, 5), (280, 5), (280, 8), (280, 26), (560, 1)])
def test_schedules_are_the_real_ones_and_stay_within_the_budget(budget, iterations):
    suite = get_suite("digits")
    dit, *fpdm = fig3_schedules.schedules(suite.dit, suite.fpdm, budget, iterations, Account())
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
    assert [one.name[:4] for one in fig3_schedules.schedules(suite.dit, suite.fpdm, 20, 8, Account())] == ["FPDM"] * 3
    assert fig3_schedules.schedules(suite.dit, suite.fpdm, 5, 8, Account()) == []


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
    wider = replace(suite, dit=replace(suite.dit, depth=12), fpdm=replace(suite.fpdm, n_pre=2, n_post=0))
    for one in (suite, wider):
        fig2_architecture.draw(replace(evidence_of("smoothing"), sized=one))
    boxes = [sum(type(patch).__name__ == "FancyBboxPatch" for patch in figure.axes[0].patches) for figure in drawn]
    assert boxes == [28 + 2 * (1 + 1 + 1), 12 + 2 * (2 + 1 + 0)]
    texts = " ".join(text.get_text() for text in drawn[1].axes[0].texts)
    assert "DiT: 12 passes" in texts
    assert "FPDM: 2 + k + 0 passes" in texts
    assert "2 pre blocks" in texts


def test_strips_are_dit_then_fpdm_by_iterations(evidence_of):
    found = fig5_strips.strips(evidence_of("smoothing"))
    assert [cell.run.model for cell, _ in found] == ["dit"] + ["fpdm"] * 13
    assert [cell.iterations for cell, _ in found[1:]] == [1, 2, 3, 5, 6, 8, 12, 18, 26, 33, 38, 54, 68]
    assert {cell.budget for cell, _ in found} == {560}
    assert {len(images) for _, images in found} == {10}


def test_convergence_is_of_the_first_replicate_with_axes_batch_step_iteration(write_records, tmp_path):
    evidence = write_records(tmp_path, grid="convergence", seeds=(1, 0))
    found = fig6bc_convergence.arms(evidence)
    assert set(found) == {True, False}
    for reuse, arm in found.items():
        assert arm.cell.seed == 0
        assert arm.cell.reuse == reuse
        assert arm.timesteps == select_timesteps(20)
        assert arm.residuals.shape == (10, 20, 26)
        batch, step, k = 3, 7, 4  # conftest's formula
        start = (0.3 if reuse else 1.0) * (1 + 0.02 * batch) * (1 + 0.1 * step)
        assert arm.residuals[batch, step, k] == pytest.approx(start * 0.67**k)


def test_convergence_draws_the_right_slices(evidence_of, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        fig6bc_convergence.style, "save", lambda figure, path: drawn.setdefault(path.name, figure) and []
    )
    evidence = evidence_of("convergence")
    fig6bc_convergence.draw(evidence)
    arm = fig6bc_convergence.arms(evidence)[False]
    panels = drawn["fig6b_convergence"].axes
    shown = [int(axis.get_title().removeprefix("t = ")) for axis in panels]
    assert shown == [arm.timesteps[i] for i in (0, 2, 5, 7, 10, 12, 14, 17, 19)]
    assert (shown[0], shown[-1]) == (999, 0)
    lines = [line for line in panels[4].lines if len(line.get_xdata())]
    assert len(lines) == 20
    assert lines[0].get_xdata().tolist() == list(range(1, 27))
    assert lines[3].get_ydata().tolist() == arm.residuals[3, 10].tolist()  # without reuse is drawn first
    second, fifth = drawn["fig6c_convergence"].axes
    assert (second.get_title(), fifth.get_title()) == ("at iteration 2", "at iteration 5")
    lines = [line for line in fifth.lines if len(line.get_xdata())]
    assert lines[3].get_xdata().tolist() == list(arm.timesteps)
    assert lines[3].get_ydata().tolist() == arm.residuals[3, :, 4].tolist()


@pytest.mark.parametrize(("steps", "indices"), [(9, list(range(9))), (5, list(range(5))), (1, [0])])
def test_few_steps_are_all_shown(steps, indices):
    assert fig6bc_convergence.spread(steps) == indices


def planted(cell):
    """5 iterations are best on average, and in the other replicates of 0 and 1; in those of 2 it is 2."""
    if cell.n_pre == 1:
        return {2: (1.0, 20.0, 20.0), 5: (9.0, 8.0, 10.0)}[cell.iterations][cell.seed]
    return 10.0 * cell.n_pre + cell.iterations


def test_pre_post_layers_are_compared_at_the_iterations_that_the_other_replicates_choose(write_records, tmp_path):
    """Geometric means of the others: without 0: 20 and 8.9; without 1: 4.5 and 9.5; without 2: 4.5 and 8.5."""
    evidence = write_records(tmp_path, grid="prepost", seeds=(0, 1, 2), fid=planted)
    rows = fig7_prepost.by_layers(evidence).set_index(["n_pre", "budget"])
    assert set(rows.index) == {(n, budget) for n in (0, 1, 2, 4) for budget in (140, 280, 560)}
    values = np.array([9.0, 20.0, 20.0])  # on its own samples replicate 0 would choose 1.0
    one = rows.loc[(1, 280)]
    assert one.fd == pytest.approx(values.mean())
    assert one.fd_half == pytest.approx(4.302653 * values.std(ddof=1) / math.sqrt(3), rel=1e-5)
    lent = np.log([1.0, 20.0, 20.0]).var(ddof=1)  # trained once: the twin's spread, the larger of its two schedules
    assert tuple(rows.loc[(4, 560)]) == pytest.approx((42.0, 4.302653 * 42.0 * math.sqrt(lent)))
    assert fig7_prepost._training(evidence.frame).endswith("0, 2, 4 layers.")


def test_a_diverged_network_is_named_below_figure_7(evidence_of, write_records, tmp_path, monkeypatch):
    evidence = write_records(tmp_path, grid="prepost")
    evidence = diverge(evidence, lambda cell: cell.n_pre == 0 and cell.budget == 140)
    notes = []
    monkeypatch.setattr(fig7_prepost.style, "note", lambda figure, text: notes.append(text))
    assert fig7_prepost.draw(evidence)
    assert "not drawn: 0 at 140." in notes[0]


def test_the_figures_of_other_datasets_are_named_with_the_suite_that_they_need(evidence_of, capsys, monkeypatch):
    lines = [
        "Figure 8 (CelebA-HQ) needs suite celebahq",
        "Figure 9 (LSUN Church) needs suite church",
        "Figure 10 (FFHQ) needs suite ffhq",
        "Figure 11 (ImageNet) needs suite imagenet",
    ]
    evidence = evidence_of("samples")
    fig8_11_uncurated.draw(evidence)
    assert capsys.readouterr().out.splitlines() == lines
    suite = replace(get_suite("digits"), dataset="church")
    monkeypatch.setattr(fig8_11_uncurated.style, "save", lambda figure, path: [path])
    assert fig8_11_uncurated.draw(replace(evidence, sized=suite))[0].name == "fig9_church"
    assert capsys.readouterr().out.splitlines() == [line for line in lines if "church" not in line]


@pytest.mark.parametrize("module", FILES, ids=name_of)
def test_every_file_is_written_and_written_alike_again(module, evidence_of, capsys):
    evidence = evidence_of(module.GRID)
    paths = module.draw(evidence)
    assert {path.stem for path in paths} == FILES[module]
    assert {".png", ".pdf"} <= {path.suffix for path in paths}
    first = {path: path.read_bytes() for path in paths}
    assert all(len(content) > 100 for content in first.values())
    assert module.draw(evidence) == paths
    assert {path: path.read_bytes() for path in paths} == first


@pytest.mark.parametrize("module", FILES, ids=name_of)
def test_without_records_nothing_is_drawn_and_nothing_raised(module, write_records, tmp_path, capsys):
    paths = module.draw(write_records(tmp_path, grid=module.GRID, skip=lambda cell: True))
    assert bool(paths) == (module in WITHOUT_RECORDS)


@pytest.mark.parametrize("module", FILES, ids=name_of)
def test_what_there_is_is_drawn(module, write_records, tmp_path, capsys):
    """One network's records, and not all of those."""

    def skip(cell):
        reused = cell.measure == "convergence" and cell.reuse
        return cell.run.model == "dit" or reused or (cell.budget == 280 and cell.iterations in (5, 8))

    assert {path.stem for path in module.draw(write_records(tmp_path, grid=module.GRID, skip=skip))} == FILES[module]


@pytest.mark.parametrize("module", [fig4_smoothing, fig6a_reuse], ids=name_of)
def test_all_diverged_is_a_table_without_a_figure(module, write_records, tmp_path):
    evidence = diverge(write_records(tmp_path, grid=module.GRID))
    assert {path.suffix for path in module.draw(evidence)} == {".md", ".csv", ".tex"}


def test_replicates_without_a_schedule_in_common_have_no_figure_7_but_a_table(write_records, tmp_path):
    """What the other replicate chooses is missing in each."""
    evidence = write_records(
        tmp_path, grid="prepost", seeds=(0, 1), skip=lambda cell: (cell.seed == 0) == (cell.iterations == 2)
    )
    assert {path.name for path in fig7_prepost.draw(evidence)} == {"prepost.md", "prepost.csv", "prepost.tex"}
