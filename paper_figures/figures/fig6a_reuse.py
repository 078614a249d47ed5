"""Figure 6a: quality with and without reusing solutions across timesteps, against iterations per timestep."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from paper_figures import style
from paper_figures.evidence.columns import over_seeds, plus_minus, texts
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import by_seed, ratio
from paper_figures.tables.writing import printed, write_table

GRID = "reuse"
TITLE = "Figure 6a: reusing solutions"
APART = 1.06  # factor between the two, so that neither covers the other


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig6a_reuse.{png,pdf} and tables/reuse.{md,csv,tex}."""
    if evidence.frame.empty:
        return []
    table = pairs(evidence.frame)
    note = "FD: Fréchet distance, lower is better. The ratio is paired: both sides have the same weights and noise."
    return [*_figure(evidence), *write_table(evidence, "reuse", table, _readable(table), note)]


def _figure(evidence: Evidence) -> list[Path]:
    rows = over_seeds(evidence.frame)
    if not np.isfinite(rows.fd).any():
        return []
    shown = style.contenders(evidence, rows.model)
    looks, series = {}, {}
    for one, reuse in product(shown, (True, False)):
        label = ("with reuse" if reuse else "without reuse") + (f", {one.label}" if len(shown) > 1 else "")
        cold = {"color": style.shade(one.color, 0.45), "marker": "^", "linestyle": "--"}
        looks[label] = style.look(one) | ({} if reuse else cold)
        series[one.name, reuse] = label
    rows = rows.assign(series=[series[key] for key in zip(rows.model, rows.reuse, strict=True)])
    grid = style.facets(rows, "iterations", "budget", looks, apart=APART)
    for budget, axis in grid.axes_dict.items():
        style.iteration_axes(axis)
        axis.set_title(f"{budget} {evidence.unit}")
    axes = list(grid.axes.flat)
    axes[0].set_ylabel(style.fd_label(evidence))
    style.shared_legend(grid.figure, axes)
    style.note(grid.figure, f"{evidence.caption}{'.' * bool(lost := style.crosses(rows))}{lost}")
    return style.save(grid.figure, evidence.path("figures", "fig6a_reuse"))


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(pairs(evidence.frame)))


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per budget and iterations: FD with reuse, without, and their ratio with its interval.

    Where several contenders carry a state, the first column says which.
    """
    rows, keys = [], ["model"] * (frame.model.nunique() > 1) + ["budget", "iterations", "steps"]
    for values, cells in frame.groupby(keys):
        line: dict[str, object] = dict(zip(keys, values, strict=True))
        arms = {name: cells[cells.reuse == reused] for name, reused in (("with_reuse", True), ("without_reuse", False))}
        for name, arm in arms.items():
            if len(arm):
                mean = over_seeds(arm).iloc[0]
                line |= {name: mean.fd, f"{name}_half": mean.fd_half}
        if all(len(arm) for arm in arms.values()):
            found = ratio(by_seed(arms["with_reuse"]), by_seed(arms["without_reuse"]))
            line |= {"ratio": found.estimate, "ratio_low": found.low, "ratio_high": found.high, "text": str(found)}
        rows.append(line)
    columns = ["with_reuse", "with_reuse_half", "without_reuse", "without_reuse_half", "text"]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*table.columns, *(name for name in columns if name not in table)])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        ({"model": table.model} if "model" in table else {})
        | {
            "block passes": table.budget,
            "iterations": table.iterations,
            "steps": table.steps,
            "FD with reuse": plus_minus(table.with_reuse, table.with_reuse_half),
            "FD without": plus_minus(table.without_reuse, table.without_reuse_half),
            "with / without": texts(table.text),
        }
    )
