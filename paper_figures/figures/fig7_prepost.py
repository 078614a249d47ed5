"""Figure 7: quality against budget for 0, 1, 2 and 4 pre/post layers, with all numbers as a table (Sec. 5.4)."""

from pathlib import Path

import numpy as np
import pandas as pd

from bench.spec.grids.paper import PREPOST_LAYERS
from paper_figures import style
from paper_figures.evidence.columns import over_seeds, quality_columns, ratio_columns
from paper_figures.evidence.comparisons import against
from paper_figures.evidence.gather import Evidence
from paper_figures.tables.writing import printed, write_table

GRID = "prepost"
TITLE = "Figure 7: pre/post layers"
APART = 1.08  # factor between points side by side


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig7_prepost.{png,pdf} and tables/prepost.{md,csv,tex}."""
    if evidence.frame.empty:
        return []
    rows = over_seeds(evidence.frame)
    note = " ".join(filter(None, ("FD: Fréchet distance, lower is better.", evidence.shares_note)))
    return [*_figure(evidence), *write_table(evidence, "prepost", rows, _readable(rows), note)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(over_seeds(evidence.frame)))


def by_layers(evidence: Evidence) -> pd.DataFrame:
    """A row per number of layers and budget: FD over that of the subject's own number, with its interval.

    Each is at the iterations that are best in the other replicates. Without a replicate in common there is no row.
    """
    own, rows = style.suite_of(evidence).subject.config.n_pre, []
    for budget, cells in evidence.frame.groupby("budget"):
        reference = cells[cells.n_pre == own]
        for n in sorted({*cells.n_pre} - {own}):
            found = against(cells[cells.n_pre == n], reference)
            rows += [] if found is None else [{"n_pre": n, "budget": budget} | ratio_columns(found)]
    columns = ["n_pre", "budget", "ratio", "ratio_low", "ratio_high", "ratio_text"]
    return pd.DataFrame(rows, columns=columns)


def _readable(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "block passes": rows.budget,
            "pre/post layers": rows.n_pre,
            "iterations": rows.iterations,
            "steps": rows.steps,
            **quality_columns(rows),
            "trainings": rows.train_seeds,
        }
    ).sort_values(["block passes", "pre/post layers", "iterations"])


def _figure(evidence: Evidence) -> list[Path]:
    """Ratios to the subject's own number of layers against the budget."""
    rows = by_layers(evidence)
    finite = rows[np.isfinite(rows.ratio.astype(float)) & (rows.ratio > 0)]
    if finite.empty:
        return []
    own, budgets = style.suite_of(evidence).subject.config.n_pre, sorted(set(finite.budget))
    layers = [n for n in PREPOST_LAYERS if n in set(finite.n_pre)]
    figure, ((axis,),) = style.panels(1, 1, height_in=3.0)
    for i, n in enumerate(layers):
        some = finite[finite.n_pre == n]
        x = some.budget * APART ** (i - (len(layers) - 1) / 2)
        ends = [some.ratio - some.ratio_low, some.ratio_high - some.ratio]
        look = {"color": style.SERIES[1 + i], "marker": style.MARKERS[i], "label": str(n), "linestyle": "none"}
        axis.errorbar(x, some.ratio, yerr=ends, capsize=2, elinewidth=1, **look)
    axis.axhline(1, color=style.suite_of(evidence).subject.color, linewidth=1, zorder=1, label=f"{own} (reference)")
    style.log_x(axis, budgets, margin=1.25)
    style.log_y(axis, style.FINE)
    axis.set(xlabel=f"{evidence.unit} an image", ylabel=f"FD / FD with {own} pre/post layer{'s' * (own != 1)}")
    style.shared_legend(figure, [axis], title="pre/post layers")
    tried = " or ".join(map(str, sorted(set(evidence.frame.iterations))))
    others = "the other replicates" if len(evidence.replicates) > 1 else "the very samples that are shown"
    chosen = f"each at {tried} iterations, whichever is best on {others}"
    lost = [f"{row.n_pre} at {row.budget}" for row in rows[~rows.index.isin(finite.index)].itertuples()]
    diverged = f" Diverged, hence not drawn: {', '.join(lost)}." if lost else ""
    style.note(figure, f"{evidence.caption}; {chosen}. Ratios below 1: better than with {own}.{diverged}")
    return style.save(figure, evidence.path("figures", "fig7_prepost"))
