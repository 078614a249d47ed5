"""Figure 6a: quality with and without reusing solutions across timesteps, against iterations per timestep."""

from pathlib import Path

import numpy as np
import pandas as pd

from paper_figures import style
from paper_figures.evidence.gather import Evidence, over_seeds, plus_minus, texts
from paper_figures.evidence.intervals import by_seed, ratio
from paper_figures.tables.writing import printed, write_table

GRID = "reuse"
TITLE = "Figure 6a: reusing solutions"
APART = 1.03  # factor by which the two are moved off their place, so that neither covers the other
_LOOKS = {
    True: ("s", "-", style.COLORS["fpdm"], "with reuse"),
    False: ("^", "--", style.COLORS["fpdm cold"], "without reuse"),
}


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
    budgets = sorted(set(rows.budget))
    figure, axes = style.panels(len(budgets), height_in=2.6)
    for axis, budget in zip(axes, budgets, strict=True):
        for reuse, (marker, line, color, label) in _LOOKS.items():
            some = rows[(rows.budget == budget) & (rows.reuse == reuse)]
            beside = some.iterations * (1 / APART if reuse else APART)
            style.curve(axis, beside, some, color=color, marker=marker, linestyle=line, label=label)
        axis.set_title(f"{budget} {evidence.unit}")
        style.iteration_axes(axis)
    axes[0].set_ylabel(f"Fréchet distance ({evidence.extractor})")
    style.shared_legend(figure, axes)
    style.note(figure, evidence.caption)
    return style.save(figure, evidence.path("figures", "fig6a_reuse"))


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(pairs(evidence.frame)))


def pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per budget and iterations: FD with reuse, without, and their ratio with its interval."""
    rows = []
    for (budget, k, steps), cells in frame.groupby(["budget", "iterations", "steps"]):
        line: dict[str, object] = {"budget": budget, "iterations": k, "steps": steps}
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
        {
            "block passes": table.budget,
            "iterations": table.iterations,
            "steps": table.steps,
            "FD with reuse": plus_minus(table.with_reuse, table.with_reuse_half),
            "FD without": plus_minus(table.without_reuse, table.without_reuse_half),
            "with / without": texts(table.text),
        }
    )
