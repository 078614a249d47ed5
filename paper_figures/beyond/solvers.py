"""Beyond the paper: Anderson and Broyden instead of plain fixed-point iteration, at equal block passes."""

from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from paper_figures import style
from paper_figures.evidence.columns import (
    EQUAL,
    mean_columns,
    number,
    plus_minus,
    ratio_columns,
    readable_shares,
    share_columns,
    with_budget,
    with_measured,
)
from paper_figures.evidence.comparisons import EACH, paired, where_intervals
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import by_seed
from paper_figures.tables.writing import printed, write_table

GRID = "solvers"
TITLE = "Beyond the paper: fixed-point solvers"
SOLVERS = {"iteration": "plain", "anderson": "Anderson", "broyden": "Broyden"}


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/solvers.{csv,md,tex} and, unless all lines would coincide, figures/solvers.{png,pdf}."""
    if evidence.frame.empty:
        return []
    table = summary(evidence)
    note = (
        f"FD: Fréchet distance, lower is better. {evidence.shares_note} "
        "Ratios pair equal weights and noise. Block passes are equal; what a "
        f"solver computes besides shows in images / s only.{where_intervals(evidence, EACH)} {evidence.timing_caption} "
        "The paper has no such table."
    )
    figure = [] if _coincide(table) else _figure(evidence, table)
    return [*write_table(evidence, "solvers", table, _readable(table), note), *figure]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(summary(evidence)))


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a budget, iterations and solver: FD, its ratio to plain iteration, images a second.

    Where several contenders iterate, the first column says which.
    """
    frame, cells = evidence.frame, evidence.asked
    schedules = sorted(set(zip(cells.model, cells.budget, cells.iterations, cells.steps, strict=True)))
    rows = []
    for (model, budget, k, steps), solver in product(schedules, SOLVERS):
        same = frame[(frame.model == model) & (frame.budget == budget) & (frame.iterations == k)]
        some, plain = same[same.solver == solver], same[same.solver == "iteration"]
        row: dict[str, Any] = {"model": model, "budget": budget, "iterations": k, "steps": steps, "solver": solver}
        row |= mean_columns(by_seed(some), "") | share_columns(some) | {"replicates": some.seed.nunique()}
        row |= ratio_columns(None if solver == "iteration" else paired(some, plain))
        rows.append(row | {"images_per_s": some.images_per_s.median()})
    table = with_measured(pd.DataFrame(rows))
    return table if table.model.nunique() > 1 else table.drop(columns="model")


def _coincide(table: pd.DataFrame) -> bool:
    """Whether every solver's ratio to plain iteration is known to be 1, within `columns.EQUAL`."""
    ends = table.loc[table.solver != "iteration", ["ratio_low", "ratio_high"]].astype(float)
    return bool(((ends - 1).abs() < EQUAL).all(axis=None))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    arms = {name: table[table.solver == solver] for solver, name in SOLVERS.items()}  # rows in the same order
    one = arms["plain"]
    columns: dict[str, list[Any]] = {"model": list(one.model)} if "model" in one else {}
    columns |= {"iterations": list(one.iterations), "steps": list(one.steps)}
    columns |= {f"{name} FD": plus_minus(arm.fd, arm.half) for name, arm in arms.items()}
    for name, arm in arms.items():
        columns |= readable_shares(arm, heading=f"{name} {{}}")
    columns |= {f"{name} / plain": list(arm.ratio_text) for name, arm in arms.items() if name != "plain"}
    columns |= {f"{name} images / s": number(arm.images_per_s, ".1f") for name, arm in arms.items()}
    return with_budget(pd.DataFrame(columns), list(one.budget))


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    rows = table.rename(columns={"half": "fd_half"}).assign(series=table.solver.map(SOLVERS))
    rows["panel"] = [f"{budget} {evidence.unit}" for budget in rows.budget]
    if "model" in rows:
        rows["panel"] = rows.model.map(style.labels(evidence)) + ", " + rows.panel
    marks = zip(SOLVERS.values(), style.SERIES, style.MARKERS, strict=False)
    looks = {name: {"color": color, "marker": marker} for name, color, marker in marks}
    grid = style.facets(rows, "iterations", "panel", looks, apart=1.04)
    for axis in grid.axes.flat:
        style.few_ticks(axis, sorted(set(rows.iterations)), rows.fd.to_numpy(float))
    grid.set_axis_labels("iterations per timestep", style.fd_label(evidence))
    style.shared_legend(grid.figure, grid.axes.flat)
    style.note(grid.figure, f"{evidence.caption}.{style.crosses(rows)}")
    return style.save(grid.figure, evidence.path("figures", "solvers"))
