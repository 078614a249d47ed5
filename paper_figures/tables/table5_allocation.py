"""Table 5: iterations shared among timesteps in four ways, at equal block passes."""

from itertools import product
from typing import Any

import pandas as pd

from models.diffusion.allocation import ALLOCATIONS
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
from paper_figures.evidence.comparisons import EACH, paired, where_intervals
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import by_seed
from paper_figures.evidence.pairing import where
from paper_figures.published import TABLE5_FID
from paper_figures.tables.writing import Table, drawn

GRID = "allocation"
TITLE = "Table 5: allocation of iterations"
_RATIOS = "Ratios pair equal weights and noise."
ALL = "all"  # in place of a number of iterations


def tables(evidence: Evidence) -> list[Table]:
    """FD by allocation and iterations, and the ratios to constant allocation."""
    if evidence.frame.empty:
        return []
    table = summary(evidence)
    found = ratios(evidence, table)
    note = (
        "FD: Fréchet distance, lower is better, at k iterations a timestep on average. "
        "Adaptive ends a sample's iterations when its residual falls below a threshold, found by binary search on "
        "other samples so that their mean meets the budget; a cell that spent over 1% more is not compared. Spent is "
        "the mean of samples; executed is what the network ran for them, since a batch goes on until its slowest "
        "sample has ended: in time, adaptive allocation by batches is not at equal compute. The search for its "
        "threshold comes on top."
    )
    of_ratios = f"{_RATIOS}{where_intervals(evidence, EACH)}"
    return [
        Table(
            "table5",
            table,
            _readable(table),
            f"{note} {evidence.shares_note} Published: ImageNet, FID of 1,000 images.",
        ),
        Table("table5_ratios", found, _ratios(found), f"{note} {of_ratios} {evidence.timing_caption}"),
    ]


draw, table_text = drawn(tables)


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row for each budget, allocation and iterations of the subject: FD, and the share of the budget spent."""
    frame, cells = (where(rows, model=evidence.compared.subject_name) for rows in (evidence.frame, evidence.asked))
    rows = []
    for budget, name, k in product(sorted(set(cells.budget)), ALLOCATIONS, sorted(set(cells.iterations))):
        some = where(frame, budget=budget, allocation=name, iterations=k)
        allowed = some["budget" if evidence.account.name == "blocks" else "block_passes"].astype(float)
        spent = 100 * some.spent.astype(float) / allowed
        row: dict[str, Any] = {"budget": budget, "allocation": name, "iterations": k}
        row |= mean_columns(by_seed(some), "") | share_columns(some) | {"replicates": some.seed.nunique()}
        row |= {"spent_percent": spent.mean(), "most_spent_percent": spent.max()}
        row |= {"executed_percent": (100 * some.executed.astype(float) / allowed).mean()}
        row |= {"images_per_s": some.images_per_s.median(), "search_s": some.search_s.median()}
        row |= {"comparable": bool(some.comparable.astype(bool).all())}
        rows.append(row | {"published_fid": TABLE5_FID.get(name, {}).get(k)})
    return with_measured(pd.DataFrame(rows))


def ratios(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """`summary` of all but constant allocation, with the ratio to it; and a row over all comparable iterations."""
    frame = where(evidence.frame, model=evidence.compared.subject_name)
    rows: list[dict[str, Any]] = []
    for (budget, name), cells in table[table.allocation != "constant"].groupby(["budget", "allocation"], sort=False):
        at = frame[frame.budget == budget]
        some, constant = at[at.allocation == name], at[at.allocation == "constant"]
        used = []
        for row in cells.to_dict("records"):
            k = row["iterations"]
            same = constant[constant.iterations == k]
            found = paired(some[some.iterations == k], same) if row["comparable"] else None
            used += [] if found is None else [k]
            rate = {"constant_images_per_s": same.images_per_s.median()}
            rows.append({str(column): value for column, value in row.items()} | ratio_columns(found) | rate)
        together = ratio_columns(paired(some[some.iterations.isin(used)], constant))
        if 0 < len(used) < len(cells):
            together["ratio_text"] += f" (k = {', '.join(map(str, used))} only)"
        overall = {"budget": budget, "allocation": name, "iterations": ALL, "comparable": len(used) == len(cells)}
        rows.append(overall | {"spent_percent": cells.spent_percent.mean()} | together)
    return pd.DataFrame(rows)


def _excess(row: Any) -> str:
    return f"not comparable: spent {row.most_spent_percent:.1f}% of the budget"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's form: a row an allocation, a column a number of iterations; then the published rows."""
    texts = plus_minus(table.fd, table.half)
    texts = [text if row.comparable else _excess(row) for row, text in zip(table.itertuples(), texts, strict=True)]
    measured = _wide(table.assign(text=texts))
    published = _wide(table.assign(text=number(table.published_fid, ".1f"))[table.allocation.isin(TABLE5_FID)])
    published = published.assign(allocation=published.allocation + " (published)")
    shares = [
        wide.assign(allocation=wide.allocation + f": {name}")
        for name, values in readable_shares(table).items()
        for wide in [_wide(table.assign(text=values))]
    ]
    both = pd.concat([measured, *shares, published])
    return with_budget(both.drop(columns="budget"), list(both.budget))


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    place = {name: place for place, name in enumerate(ALLOCATIONS)}
    wide = table.pivot(index=["budget", "allocation"], columns="iterations", values="text")
    wide = wide.rename(columns="k = {}".format).reset_index().rename_axis(columns=None)
    return wide.sort_values(["budget", "allocation"], key=lambda c: c.map(place) if c.name == "allocation" else c)


def _ratios(found: pd.DataFrame) -> pd.DataFrame:
    """A row a number of iterations: each allocation's ratio to constant, and what adaptive spent."""
    one = found.drop_duplicates(["budget", "iterations"])
    columns: dict[str, list[str]] = {"iterations": [str(k) for k in one.iterations]}
    for name, cells in found.groupby("allocation", sort=False):  # rows in the same order
        rows = zip(cells.itertuples(), cells.ratio_text, strict=True)
        columns[f"{name} / constant"] = [
            text if row.comparable or row.iterations == ALL else _excess(row) for row, text in rows
        ]
        if name == "adaptive":
            columns["adaptive: spent (%)"] = number(cells.spent_percent, ".1f")
            columns["executed (%)"] = number(cells.executed_percent, ".0f")
            columns["images / s"] = number(cells.images_per_s, ".0f")
            columns["images / s, constant"] = number(cells.constant_images_per_s, ".0f")
            columns["search (s)"] = number(cells.search_s, ".1f")
    return with_budget(pd.DataFrame(columns), list(one.budget))
