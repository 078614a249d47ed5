"""Figures 6b and 6c: how the fixed-point iteration converges, with and without reuse (Sec. 5.3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullLocator

from bench.spec.cells import Cell
from models.diffusion.samplers import label_of
from models.diffusion.timesteps import select_timesteps
from paper_figures import style
from paper_figures.evidence.gather import Evidence

GRID = "convergence"
TITLE = "Figures 6b and 6c: convergence"
PANELS, COLUMNS = 9, 3  # timesteps of Figure 6b
ITERATIONS = (2, 5)  # of Figure 6c; the paper does not name its one
DASHES = {False: (4, 1.5), True: ""}  # without and with reuse


@dataclass(frozen=True)
class Arm:
    """What was measured of one contender with reuse, or without.

    Attributes:
        cell: of the record.
        timesteps: of the steps, noisiest first.
        residuals: (batches, steps, iterations), mean of each batch.
    """

    cell: Cell
    timesteps: tuple[int, ...]
    residuals: np.ndarray

    def rows(self) -> pd.DataFrame:
        """A row a batch, step (noisiest first) and iteration, counted from 1."""
        batches, _, iterations = self.residuals.shape
        index = pd.MultiIndex.from_product(
            [range(batches), self.timesteps, range(1, iterations + 1)], names=["batch", "timestep", "iteration"]
        )
        return pd.DataFrame({"residual": self.residuals.ravel()}, index).reset_index()


def arms(evidence: Evidence) -> list[Arm]:
    """The first replicate's measurements of each contender, without and with reuse."""
    found: dict[tuple[str, bool], Arm] = {}
    for cell, record in sorted(evidence.records("convergence"), key=lambda pair: pair[0].seed):
        assert isinstance(cell, Cell)
        timesteps = select_timesteps(cell.steps, cell.protocol.spacing)
        arm = Arm(cell, timesteps, np.asarray(record.series["residuals"], float))
        found.setdefault((cell.model, cell.reuse), arm)
    return [found[key] for key in sorted(found)]


def spread(steps: int, count: int = PANELS) -> list[int]:
    """Indices of `count` steps from the first to the last, or of all if there are fewer."""
    return sorted({round(i) for i in np.linspace(0, steps - 1, count)})


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig6b_convergence and figures/fig6c_convergence, {png,pdf}."""
    if not (found := arms(evidence)):
        return []
    return [*_by_iteration(evidence, found), *_by_timestep(evidence, found)]


def _by_iteration(evidence: Evidence, found: list[Arm]) -> list[Path]:
    first = found[0]
    shown = [first.timesteps[i] for i in spread(len(first.timesteps))]
    height = -(-len(shown) // COLUMNS) + 0.9
    grid = _lines(evidence, found, "iteration", "timestep", shown, columns=COLUMNS, height_in=height)
    for i, (axis, timestep) in enumerate(zip(grid.axes.flat, shown, strict=True)):
        axis.tick_params(labelleft=i % COLUMNS == 0, labelbottom=i + COLUMNS >= len(shown))
        axis.set_title(f"t = {timestep}", fontsize=7.5)
        axis.set_xticks([1, first.cell.iterations // 2, first.cell.iterations])
    grid.set_axis_labels("", "")
    grid.axes.flat[-min(2, len(shown))].set_xlabel("fixed-point iteration")
    grid.figure.supylabel("relative residual", fontsize=8)
    return _finish(grid, evidence, first, "fig6b_convergence")


def _by_timestep(evidence: Evidence, found: list[Arm]) -> list[Path]:
    last = found[0].residuals.shape[2]
    shown = [k for k in ITERATIONS if k <= last] or [last]
    grid = _lines(evidence, found, "timestep", "iteration", shown, columns=len(shown), height_in=2.2)
    grid.set_titles("at iteration {col_name}")
    grid.set(xlim=(1030, -30), xticks=[999, 500, 0])
    grid.set_axis_labels("timestep t", "relative residual")
    return _finish(grid, evidence, found[0], "fig6c_convergence")


def _lines(
    evidence: Evidence, found: list[Arm], x: str, column: str, shown: Sequence[int], columns: int, height_in: float
) -> sns.FacetGrid:
    """Residuals against x, a panel for each value of a column that is shown, a thin line a batch."""
    contenders = {arm.cell.model: style.suite_of(evidence).contender(arm.cell.model) for arm in found}
    rows, palette, dashes = [], {}, {}
    for arm in found:
        contender, reuse = contenders[arm.cell.model], arm.cell.reuse
        label = ("with reuse" if reuse else "without reuse") + (f", {contender.label}" if len(contenders) > 1 else "")
        palette[label] = contender.color if reuse else style.shade(contender.color, 0.45)
        dashes[label] = DASHES[reuse]
        rows.append(arm.rows().assign(series=label))
    table = pd.concat(rows, ignore_index=True)
    grid = sns.relplot(
        table[table[column].isin(shown)],
        kind="line",
        x=x,
        y="residual",
        units="batch",
        estimator=None,
        sort=False,
        hue="series",
        palette=palette,
        style="series",
        dashes=dashes,
        col=column,
        col_order=shown,
        col_wrap=columns,
        linewidth=0.5,
        alpha=0.7,
        legend=False,
        height=height_in / -(-len(shown) // columns),
        aspect=style.COLUMN_WIDTH_IN / columns / height_in * -(-len(shown) // columns),
    )
    grid.figure.set_layout_engine("constrained")
    for label, color in palette.items():  # for the legend, thicker
        grid.axes.flat[0].plot([], [], "--" if dashes[label] else "-", color=color, label=label)
    return grid


def _log_scale(axis: Axes) -> None:
    """A logarithmic y axis, shared by all panels, with labels that suit how many decades it shows."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if math.log10(high / low) < 2:
        return style.log_y(axis, style.COARSE)
    axis.yaxis.set_major_locator(LogLocator(numticks=4))
    axis.yaxis.set_major_formatter(LogFormatterSciNotation())
    axis.yaxis.set_minor_locator(NullLocator())


def _finish(grid: sns.FacetGrid, evidence: Evidence, arm: Arm, name: str) -> list[Path]:
    _log_scale(grid.axes.flat[0])
    style.shared_legend(grid.figure, grid.axes.flat)
    cell, protocol = arm.cell, arm.cell.protocol
    style.note(
        grid.figure,
        f"{evidence.suite}: {len(arm.residuals)} batches of {protocol.batch_size} samples, a line each, of replicate "
        f"{cell.seed}; {cell.iterations} iterations x {cell.steps} steps, {label_of(cell.sampler)}, "
        f"EMA weights, {cell.run.budget_text} of training. The first step has nothing to reuse: "
        "both coincide. "
        "Residual: ||f(z) - z|| / ||f(z)||, relative; the paper's difference of the last two iterates is absolute",
    )
    return style.save(grid.figure, evidence.path("figures", name))
