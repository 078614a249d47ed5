"""Figure 6a: quality with and without reusing solutions across timesteps, against iterations per timestep."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.spec.contenders import Contender
from paper_figures import style
from paper_figures.evidence.columns import over_seeds, plus_minus, readable_shares, share_columns, texts, with_measured
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
    note = f"FD: Fréchet distance, lower is better. {evidence.shares_note} "
    note += "The ratio is paired: both sides have the same weights and noise."
    return [*_figure(evidence, table), *write_table(evidence, "reuse", table, _readable(table), note)]


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    """A row of panels for each budget: FD with and without reuse, and beside it the paired ratio of the two."""
    rows = over_seeds(evidence.frame)
    if not np.isfinite(rows.fd).any():
        return []
    shown, budgets = style.contenders(evidence, rows.model), sorted(set(rows.budget))
    figure, axes = style.panels(len(budgets), 2, height_in=0.7 + 2.0 * len(budgets), sharex=True)
    for (curves, quotients), budget in zip(axes, budgets, strict=True):
        for one, reuse in product(shown, (True, False)):
            some = rows[(rows.budget == budget) & (rows.model == one.name) & (rows.reuse == reuse)]
            if len(some):
                x = some.iterations * APART ** (-0.5 if reuse else 0.5)
                style.curve(curves, x, some, **_look(one, reuse, several=len(shown) > 1))
        for one in shown:
            _quotients(quotients, table[(table.budget == budget) & (table.get("model", one.name) == one.name)], one)
        style.iteration_axes(curves, rows.iterations)
        curves.set(ylabel=style.fd_label(evidence), title=f"{budget} {evidence.unit}")
        quotients.set(ylabel="FD with / without reuse", title="paired ratio, below 1: reuse is better")
        quotients.set_xlabel(curves.get_xlabel())
        quotients.axhline(1, color=style.INK, linewidth=0.8, zorder=1)
    style.shared_legend(figure, axes[:, 0])
    pairing = "Ratio: both sides have the same weights and noise."
    style.note(figure, f"{evidence.caption}. {pairing}{style.crosses(rows)}")
    return style.save(figure, evidence.path("figures", "fig6a_reuse"))


def _look(one: Contender, reuse: bool, several: bool) -> dict[str, Any]:
    label = ("with reuse" if reuse else "without reuse") + (f", {one.label}" if several else "")
    cold = {"color": style.shade(one.color, 0.45), "marker": "^", "linestyle": "--"}
    return style.look(one) | ({} if reuse else cold) | {"label": label}


def _quotients(axis: Axes, table: pd.DataFrame, one: Contender) -> None:
    """The ratios of one contender and budget with their intervals; none where either side diverged."""
    known = table[np.isfinite(table.ratio.astype(float)) & (table.ratio > 0)]
    ends = [known.ratio - known.ratio_low, known.ratio_high - known.ratio]
    axis.errorbar(known.iterations, known.ratio, yerr=ends, capsize=1.5, elinewidth=0.8, **style.look(one))


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
                line |= {name: mean.fd, f"{name}_half": mean.fd_half} | share_columns(arm, f"{name}_")
        if all(len(arm) for arm in arms.values()):
            found = ratio(by_seed(arms["with_reuse"]), by_seed(arms["without_reuse"]))
            line |= {"ratio": found.estimate, "ratio_low": found.low, "ratio_high": found.high, "text": str(found)}
        rows.append(line)
    columns = ["with_reuse", "with_reuse_half", "without_reuse", "without_reuse_half"]
    columns += ["ratio", "ratio_low", "ratio_high", "text"]
    table = with_measured(pd.DataFrame(rows))
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
        | readable_shares(table, "with_reuse_", "{} with reuse")
        | readable_shares(table, "without_reuse_", "{} without")
    )
