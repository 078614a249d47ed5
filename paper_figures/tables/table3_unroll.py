"""Table 3: M = N, the most iterations in training without and with gradient, at equal training seconds."""

from itertools import product
from typing import Any

import pandas as pd

from bench.spec.cells import Cell
from paper_figures.evidence.columns import (
    mean_columns,
    number,
    plus_minus,
    ratio_columns,
    readable_shares,
    share_columns,
    with_measured,
)
from paper_figures.evidence.comparisons import EACH, against, no_seconds, training, where_intervals
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import by_seed
from paper_figures.evidence.pairing import own, where
from paper_figures.published import TABLE3_FID
from paper_figures.tables.writing import Table, drawn

GRID = "unroll"
TITLE = "Table 3: iterations in training"


def tables(evidence: Evidence) -> list[Table]:
    """FD by M = N and iterations in sampling."""
    if evidence.frame.empty:
        return []
    table = summary(evidence)
    note = (
        f"FD: Fréchet distance, lower is better, at 5 and at 12 iterations a timestep in sampling. "
        f"{evidence.shares_note}{where_intervals(evidence, EACH)} "
        "Published: ImageNet, FID-50K (Table 3); the paper does not say at which budget and iterations."
        f"{no_seconds(evidence)}"
    )
    return [Table("table3", table, _readable(table), note)]


draw, table_text = drawn(tables)


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row for each budget, M = N and iterations in sampling: FD, its ratio to the suite's own M = N, the training."""
    frame, cells, as_is = evidence.frame, evidence.asked, own(evidence).dropna(subset=["fid"])
    rows: list[dict[str, Any]] = []
    for budget, n, k in product(*(sorted(set(cells[name])) for name in ("budget", "n_max", "iterations"))):
        some, twin = (where(f, budget=budget, iterations=k) for f in (frame, as_is))
        some = some[some.n_max == n]
        is_own = bool(len(some)) and set(some.train_run) <= set(twin.train_run)
        row = {"budget": budget, "n": n, "iterations": k, "own": is_own}
        row |= mean_columns(by_seed(some), "") | share_columns(some) | {"replicates": some.seed.nunique()}
        row |= ratio_columns(None if is_own else against(some, twin))
        runs = (c.run for c in evidence.cells if isinstance(c, Cell) and c.run.recipe.n_max == n)
        rows.append(row | training(evidence, runs) | {"published_fid": TABLE3_FID.get(n)})
    return with_measured(pd.DataFrame(rows))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's form: a column for each M = N."""
    lines: dict[str, list[str]] = {}
    several = table.budget.nunique() > 1
    for (budget, k), cells in table.groupby(["budget", "iterations"]):
        where = f"at {k} iterations" + (f", {budget} passes" if several else "")
        lines[f"FD {where}"] = plus_minus(cells.fd, cells.half)
        ratios = [
            "1 (the suite's own)" if is_own else text for is_own, text in zip(cells.own, cells.ratio_text, strict=True)
        ]
        lines[f"ratio to the suite's own {where}"] = ratios
        lines |= readable_shares(cells, heading=f"{{}} {where}")
    one = table.drop_duplicates("n")
    lines["training steps"] = number(one.training_steps, ".0f")
    lines["seconds a step"] = number(one.seconds_a_step, ".3g")
    lines["training seeds"] = [str(count) for count in one.trainings]
    lines["published FID"] = number(one.published_fid, ".1f")
    rows = [[name, *values] for name, values in lines.items()]
    return pd.DataFrame(rows, columns=["M = N in training", *map(str, one.n)])
