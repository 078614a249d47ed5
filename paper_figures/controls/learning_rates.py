"""Does a family suffer from another's learning rate? FD at half, once and twice the suite's rate, as a table."""

import math
from typing import Any

import pandas as pd

from bench.spec.cells import Cell
from bench.spec.contenders import Contender
from paper_figures import style
from paper_figures.evidence.columns import number, plus_minus, with_budget
from paper_figures.evidence.comparisons import trained_on
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.pairing import where
from paper_figures.tables.writing import Table, drawn

GRID = "learning-rates"
TITLE = "Learning rates"
CLEARLY = 1.25  # factor of FD below which a difference is taken for noise between trainings; fixed before any record


def tables(evidence: Evidence) -> list[Table]:
    """The one table."""
    if evidence.frame.empty:
        return []
    table = summary(evidence)
    note = (
        "FD: Fréchet distance, lower is better; the best over the schedules of a training. A rate other than the "
        f"suite's own (x 1) is chosen only if its best FD is lower by a factor of more than {CLEARLY:g}: each rate is "
        "trained once, and smaller differences are noise between trainings. This rule was fixed before any record was "
        f"made. The seed of this check is no replicate's. {cost(evidence)}"
    )
    return [Table("learning_rates", table, _readable(evidence, table), note)]


draw, table_text = drawn(tables)


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a budget, contender and rate: FD at each number of iterations, the best FD, and whether it is chosen.

    `chosen` is empty for all rates of a contender until all its cells have a record.
    """
    suite, rows = evidence.compared, []
    rates = {cell.key: cell.run.recipe.learning_rate for cell in evidence.cells if isinstance(cell, Cell)}
    frame, asked = (cells.assign(rate=cells.key.map(rates)) for cells in (evidence.frame, evidence.asked))
    for budget in sorted(set(frame.budget)):
        for one in style.contenders(evidence, frame.model):
            wanted = where(asked, budget=budget, model=one.name)
            cells = where(frame, budget=budget, model=one.name)
            own = suite.trained(one).recipe.learning_rate
            lowest = {rate: where(cells, rate=rate).fid.min() for rate in sorted(set(wanted.rate))}
            picked = choose(lowest, own) if len(cells) == len(wanted) else math.nan
            for rate, fd in lowest.items():
                row: dict[str, Any] = {"budget": budget, "model": one.name, "factor": round(rate / own, 6)}
                row |= {"learning_rate": rate} | _by_iterations(one, where(cells, rate=rate))
                rows.append(row | {"fd": fd, "chosen": "" if math.isnan(picked) else str(rate == picked).lower()})
    return pd.DataFrame(rows)


def choose(lowest: dict[float, float], own: float) -> float:
    """The rate to train at, from the best FD of each: the suite's own, unless another's is clearly lower."""
    rate = min(lowest, key=lambda rate: (lowest[rate], rate != own))
    return rate if lowest[rate] * CLEARLY < lowest[own] else own


def _by_iterations(contender: Contender, cells: pd.DataFrame) -> dict[str, float]:
    """FD by number of iterations; nothing for a contender that does not iterate."""
    if not contender.family.iterates:
        return {}
    return {f"fd_{k}": fd for k, fd in cells.groupby("iterations").fid.min().items()}


def cost(evidence: Evidence) -> str:
    """What the check cost: trainings, their seconds, and cells."""
    runs = {cell.run for cell in evidence.cells if isinstance(cell, Cell)}
    ended = [summary for run in runs if (summary := evidence.store.read_training(run))]
    seconds = sum(summary["elapsed_s"] for summary in ended)
    apart = " on different machines" if len(trained_on(evidence)) > 1 else ""
    return f"The check cost {len(ended)} trainings, {seconds:,.0f} s in all{apart}, and {len(evidence.frame)} cells."


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    iterations = sorted(int(name.removeprefix("fd_")) for name in map(str, table) if name.startswith("fd_"))
    none = pd.Series(math.nan, index=table.index)
    readable: dict[str, Any] = {
        "contender": table.model.map(style.labels(evidence)),
        "learning rate": number(table.learning_rate, "g"),
        "of the suite's": [f"x {factor:g}" for factor in table.factor],
    }
    readable |= {f"FD, {k} iterations": plus_minus(table[f"fd_{k}"], none) for k in iterations}
    readable |= {"best FD": plus_minus(table.fd, none), "chosen": table.chosen.map({"true": "yes", "false": ""})}
    return with_budget(pd.DataFrame(readable).fillna(""), list(table.budget))
