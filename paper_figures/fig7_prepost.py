"""Figure 7: quality against budget for 0, 1, 2 and 4 pre/post layers, with all numbers as a table (Sec. 5.4)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from bench.grids import PREPOST_LAYERS
from paper_figures import style
from paper_figures.gather import Evidence, over_seeds, plus_minus
from paper_figures.intervals import best, half_width
from paper_figures.tables import markdown, write_table

GRID = "prepost"
TITLE = "Figure 7: pre/post layers"
APART = 1.03  # factor between the lines' budgets, so that bars do not cover each other


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig7_prepost.{png,pdf} and tables/prepost.{md,csv,tex}."""
    if evidence.frame.empty:
        return []
    rows = over_seeds(evidence.frame)
    note = f"FD: Fréchet distance, lower is better. {_training(evidence.frame)}"
    return [*_figure(evidence), *write_table(evidence, "prepost", rows, _readable(rows), note)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return markdown(_readable(over_seeds(evidence.frame)))


def by_layers(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per number of layers and budget: FD at the iterations that are best in the other replicates."""
    rows = []
    for (layers, budget), cells in frame.groupby(["n_pre", "budget"]):
        values = best(cells).dropna().to_numpy()  # none where a replicate lacks what the others choose
        if len(values):
            half = half_width(values) if np.isfinite(values).all() else np.nan
            rows.append({"n_pre": layers, "budget": budget, "fd": values.mean(), "fd_half": half})
    return pd.DataFrame(rows, columns=["n_pre", "budget", "fd", "fd_half"], dtype=float).astype(
        {"n_pre": int, "budget": int}
    )


def _training(frame: pd.DataFrame) -> str:
    """Which networks were trained once for all replicates."""
    seeds = frame.groupby("n_pre")[["seed", "train_seed"]].nunique()
    once = [str(n) for n in seeds.index[seeds.train_seed < seeds.seed]]
    if not once:
        return ""
    return f"Trained once, so that bars are of sampling only: {', '.join(once)} layers."


def _readable(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "block passes": rows.budget,
            "pre/post layers": rows.n_pre,
            "iterations": rows.iterations,
            "steps": rows.steps,
            "FD": plus_minus(rows.fd, rows.fd_half),
            "KID": plus_minus(rows.kid, rows.kid_half),
            "trainings": rows.train_seeds,
        }
    ).sort_values(["block passes", "pre/post layers", "iterations"])


def _figure(evidence: Evidence) -> list[Path]:
    rows = by_layers(evidence.frame)
    finite = rows[np.isfinite(rows.fd)]
    if finite.empty:
        return []
    budgets = sorted(set(finite.budget))
    figure, (axis,) = style.panels(1, height_in=3.0)
    for i, layers in enumerate(PREPOST_LAYERS):
        some = finite[finite.n_pre == layers]
        if len(some):
            x = some.budget * APART ** (i - 1.5)
            style.curve(axis, x, some, color=style.SERIES[i], marker=style.MARKERS[i], label=str(layers))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(budgets, [str(budget) for budget in budgets])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("block passes an image")
    axis.set_ylabel(f"Fréchet distance ({evidence.extractor})")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, title="pre/post layers", loc="outside upper center", ncols=len(labels))
    chosen = "each at its best iterations, chosen on the other replicates"
    lost = [f"{row.n_pre} at {row.budget}" for row in rows[np.isinf(rows.fd)].itertuples()]
    diverged = f" Diverged, hence not drawn: {', '.join(lost)}." if lost else ""
    style.note(figure, f"{evidence.caption}; {chosen}. {_training(evidence.frame)}{diverged}")
    return style.save(figure, evidence.path("figures", "fig7_prepost"))
