"""Figures 6b and 6c: how the fixed-point iteration converges, with and without reuse (Sec. 5.3)."""

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullLocator

from bench.spec.cells import Cell
from models.diffusion.timesteps import select_timesteps
from paper_figures import style
from paper_figures.evidence.gather import Evidence

GRID = "convergence"
TITLE = "Figures 6b and 6c: convergence"
PANELS = 9  # timesteps of Figure 6b
ITERATIONS = (2, 5)  # of Figure 6c; the paper does not name its one
LOOKS = {
    False: ("--", style.COLORS["fpdm cold"], "without reuse"),
    True: ("-", style.COLORS["fpdm"], "with reuse"),
}


@dataclass(frozen=True)
class Arm:
    """What was measured with reuse, or without.

    Attributes:
        cell: of the record.
        timesteps: of the steps, noisiest first.
        residuals: (batches, steps, iterations), mean of each batch.
    """

    cell: Cell
    timesteps: tuple[int, ...]
    residuals: np.ndarray


def arms(evidence: Evidence) -> dict[bool, Arm]:
    """The first replicate's measurements, by whether solutions are reused."""
    found: dict[bool, Arm] = {}
    for cell, record in sorted(evidence.records("convergence"), key=lambda pair: pair[0].seed):
        assert isinstance(cell, Cell)
        timesteps = select_timesteps(cell.steps, cell.protocol.spacing)
        found.setdefault(cell.reuse, Arm(cell, timesteps, np.asarray(record.series["residuals"], float)))
    return found


def spread(steps: int, count: int = PANELS) -> list[int]:
    """Indices of `count` steps from the first to the last, or of all if there are fewer."""
    return sorted({round(i) for i in np.linspace(0, steps - 1, count)})


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig6b_convergence and figures/fig6c_convergence, {png,pdf}."""
    found = arms(evidence)
    if not found:
        return []
    return [
        *style.save(_by_iteration(evidence, found), evidence.path("figures", "fig6b_convergence")),
        *style.save(_by_timestep(evidence, found), evidence.path("figures", "fig6c_convergence")),
    ]


def _by_iteration(evidence: Evidence, found: dict[bool, Arm]) -> Figure:
    any_arm = next(iter(found.values()))
    shown = spread(len(any_arm.timesteps))
    rows = -(-len(shown) // 3)
    size = (style.COLUMN_WIDTH_IN, rows + 0.9)
    figure, grid = plt.subplots(rows, 3, figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False)
    axes = list(grid.flat)
    for axis, step in zip(axes, shown, strict=False):
        for reuse, arm in sorted(found.items()):
            iterations = np.arange(1, arm.residuals.shape[2] + 1)
            _lines(axis, iterations, arm.residuals[:, step, :], reuse)
        axis.set_title(f"t = {any_arm.timesteps[step]}", fontsize=7.5)
        axis.set_xticks([1, any_arm.cell.iterations // 2, any_arm.cell.iterations])
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.supylabel("relative residual", fontsize=8)
    grid[-1][1].set_xlabel("fixed-point iteration")
    _finish(figure, axes, evidence, any_arm)
    return figure


def _by_timestep(evidence: Evidence, found: dict[bool, Arm]) -> Figure:
    any_arm = next(iter(found.values()))
    last = any_arm.residuals.shape[2]
    shown = [k for k in ITERATIONS if k <= last] or [last]
    figure, grid = plt.subplots(
        1, len(shown), figsize=(style.COLUMN_WIDTH_IN, 2.2), sharey=True, layout="constrained", squeeze=False
    )
    axes = list(grid[0])
    for axis, k in zip(axes, shown, strict=True):
        for reuse, arm in sorted(found.items()):
            _lines(axis, np.asarray(arm.timesteps), arm.residuals[:, :, k - 1], reuse)
        axis.set_title(f"at iteration {k}")
        axis.set_xlim(1030, -30)
        axis.set_xticks([999, 500, 0])
        axis.set_xlabel("timestep t")
    axes[0].set_ylabel("relative residual")
    _finish(figure, axes, evidence, any_arm)
    return figure


def _lines(axis: Axes, x: np.ndarray, batches: np.ndarray, reuse: bool) -> None:
    """A thin line a batch: `batches` (batches, x)."""
    line, color, label = LOOKS[reuse]
    for y in batches:
        axis.plot(x, y, line, color=color, linewidth=0.5, alpha=0.7)
    axis.plot([], [], line, color=color, label=label)  # for the legend, thicker


def _log_scale(axis: Axes) -> None:
    """A logarithmic y axis, shared by all panels, with labels that suit how many decades it shows."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few = math.log10(high / low) < 2
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if few else LogLocator(numticks=4))
    axis.yaxis.set_major_formatter("{x:g}" if few else LogFormatterSciNotation())
    axis.yaxis.set_minor_locator(NullLocator())


def _finish(figure: Figure, axes: list[Axes], evidence: Evidence, arm: Arm) -> None:
    _log_scale(axes[0])
    style.shared_legend(figure, axes)
    cell, protocol = arm.cell, arm.cell.protocol
    style.note(
        figure,
        f"{evidence.suite}: {len(arm.residuals)} batches of {protocol.batch_size} samples, a line each, of replicate "
        f"{cell.seed}; {cell.iterations} iterations x {cell.steps} steps, {cell.sampler.upper()}, "
        f"{protocol.weights.upper()} weights, {cell.run.budget_text} of training. The first step has nothing to reuse: "
        "both coincide. "
        "Residual: ||f(z) - z|| / ||f(z)||, relative; the paper's difference of the last two iterates is absolute",
    )
