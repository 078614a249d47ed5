"""Table 4: JFB, multi-step JFB and stochastic JFB at equal training seconds."""

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
    with_budget,
    with_measured,
)
from paper_figures.evidence.comparisons import EACH, against, training, where_intervals
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import by_seed
from paper_figures.published import TABLE4_FID
from paper_figures.tables.writing import Table, drawn

GRID = "gradients"
TITLE = "Table 4: gradients through the fixed point"
METHODS = {"jfb": "JFB (1-step)", "multi-step": "multi-step JFB", "stochastic": "stochastic JFB"}


def tables(evidence: Evidence) -> list[Table]:
    """FD by N, method and iterations in sampling."""
    if evidence.frame.empty:
        return []
    table = summary(evidence)
    note = (
        f"FD: Fréchet distance, lower is better, at 5 and at 12 iterations a timestep in sampling. "
        f"{evidence.shares_note}{where_intervals(evidence, EACH)} "
        "M = N here, but for JFB, whose M is 1: the paper's caption says M = 12, but its stochastic JFB at N = 6 is "
        "Table 3's M = N = 6. Published: ImageNet, FID-50K (Table 4); the paper does not say at which budget and "
        "iterations."
    )
    return [Table("table4", table, _readable(table), note)]


draw, table_text = drawn(tables)


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row for each budget, N, method and iterations in sampling: FD, its ratio to stochastic JFB, the training."""
    frame, cells = evidence.frame, evidence.asked
    rows: list[dict[str, Any]] = []
    for budget, n, method, k in product(
        sorted(set(cells.budget)), sorted(set(cells.n_max)), METHODS, sorted(set(cells.iterations))
    ):
        same = frame[(frame.budget == budget) & (frame.n_max == n) & (frame.iterations == k)]
        some, stochastic = same[same.unroll == method], same[same.unroll == "stochastic"]
        row = {"budget": budget, "n": n, "method": method, "iterations": k, "replicates": some.seed.nunique()}
        row |= mean_columns(by_seed(some), "") | share_columns(some)
        row |= ratio_columns(None if method == "stochastic" else against(some, stochastic))
        runs = (cell.run for cell in evidence.cells if isinstance(cell, Cell))
        row |= training(evidence, (run for run in runs if (run.recipe.n_max, run.recipe.unroll) == (n, method)))
        rows.append(row | {"published_fid": TABLE4_FID.get((n, method))})
    return with_measured(pd.DataFrame(rows))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["budget", "n", "method"]
    one = table.drop_duplicates(keys).reset_index(drop=True)
    readable = pd.DataFrame({"N": one.n, "method": one.method.map(METHODS)})
    for k, cells in table.groupby("iterations"):  # in the order of `one`
        readable[f"FD at {k}"] = plus_minus(cells.fd, cells.half)
        readable[f"ratio to stochastic at {k}"] = [
            "reference" if method == "stochastic" else text
            for method, text in zip(cells.method, cells.ratio_text, strict=True)
        ]
        readable = readable.assign(**readable_shares(cells, heading=f"{{}} at {k}"))
    readable["training steps"] = number(one.training_steps, ".0f")
    readable["published FID"] = number(one.published_fid, ".1f")
    return with_budget(readable, list(one.budget))
