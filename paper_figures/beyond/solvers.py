"""Beyond the paper: Anderson and Broyden instead of plain fixed-point iteration, at equal block passes."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paper_figures import style
from paper_figures.evidence.comparisons import (
    EACH,
    bars,
    few_ticks,
    mean_columns,
    number,
    paired,
    ratio_columns,
    where_intervals,
    with_budget,
)
from paper_figures.evidence.gather import Evidence, plus_minus
from paper_figures.evidence.intervals import by_seed
from paper_figures.tables.writing import printed, write_table

GRID = "solvers"
TITLE = "Beyond the paper: fixed-point solvers"
SOLVERS = {"iteration": "plain", "anderson": "Anderson", "broyden": "Broyden"}


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/solvers.{csv,md,tex} and figures/solvers.{png,pdf}."""
    if evidence.frame.empty:
        return []
    table = summary(evidence)
    note = (
        "FD: Fréchet distance, lower is better. Ratios pair equal weights and noise. Block passes are equal; what a "
        f"solver computes besides shows in images / s only.{where_intervals(evidence, EACH)} {evidence.timing_caption} "
        "The paper has no such table."
    )
    return [*write_table(evidence, "solvers", table, _readable(table), note), *_figure(evidence, table)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(summary(evidence)))


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a budget, iterations and solver: FD, its ratio to plain iteration, images a second."""
    frame, cells = evidence.frame, evidence.asked
    schedules = sorted(set(zip(cells.budget, cells.iterations, cells.steps, strict=True)))
    rows = []
    for (budget, k, steps), solver in product(schedules, SOLVERS):
        same = frame[(frame.budget == budget) & (frame.iterations == k)]
        some, plain = same[same.solver == solver], same[same.solver == "iteration"]
        row: dict[str, Any] = {"budget": budget, "iterations": k, "steps": steps, "solver": solver}
        row |= mean_columns(by_seed(some), "") | {"replicates": some.seed.nunique()}
        row |= ratio_columns(None if solver == "iteration" else paired(some, plain))
        rows.append(row | {"images_per_s": some.images_per_s.median()})
    return pd.DataFrame(rows)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    arms = {name: table[table.solver == solver] for solver, name in SOLVERS.items()}  # rows in the same order
    one = arms["plain"]
    columns: dict[str, list[Any]] = {"iterations": list(one.iterations), "steps": list(one.steps)}
    columns |= {f"{name} FD": plus_minus(arm.fd, arm.half) for name, arm in arms.items()}
    columns |= {f"{name} / plain": list(arm.ratio_text) for name, arm in arms.items() if name != "plain"}
    columns |= {f"{name} images / s": number(arm.images_per_s, ".1f") for name, arm in arms.items()}
    return with_budget(pd.DataFrame(columns), list(one.budget))


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    rows = table.rename(columns={"half": "fd_half"})
    budgets, ks = (sorted(set(rows[name])) for name in ("budget", "iterations"))
    figure, axes = style.panels(len(budgets))
    for axis, budget in zip(axes, budgets, strict=True):
        for place, (solver, name) in enumerate(SOLVERS.items()):
            some = rows[(rows.budget == budget) & (rows.solver == solver)]
            look = {"color": style.SERIES[place], "marker": style.MARKERS[place], "label": name}
            bars(axis, some.iterations * 1.04 ** (place - 1), some, **look)  # side by side
        few_ticks(axis, ks, rows.fd.to_numpy(float))
        axis.set_xlabel("iterations per timestep")
        axis.set_title(f"{budget} {evidence.unit}")
    axes[0].set_ylabel(f"Fréchet distance ({evidence.extractor})")
    style.shared_legend(figure, axes)
    lost = " Cross: diverged." if np.isinf(rows.fd).any() else ""
    style.note(figure, f"{evidence.caption}.{lost}")
    return style.save(figure, evidence.path("figures", "solvers"))
