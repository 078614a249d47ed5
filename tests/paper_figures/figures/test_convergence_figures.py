"""Figures 6b and 6c: which residuals are drawn."""

import pytest

from models.diffusion.timesteps import select_timesteps
from paper_figures.figures import fig6bc_convergence


def test_convergence_is_of_the_first_replicate_with_axes_batch_step_iteration(write_records, tmp_path):
    evidence = write_records(tmp_path, grid="convergence", seeds=(1, 0))
    found = {arm.cell.reuse: arm for arm in fig6bc_convergence.arms(evidence)}
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
    arm = next(arm for arm in fig6bc_convergence.arms(evidence) if not arm.cell.reuse)
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
