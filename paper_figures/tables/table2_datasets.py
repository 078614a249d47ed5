"""Table 2: the contenders on each dataset, for each suite with results and for the paper's datasets without."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.contenders import Contender
from bench.spec.datasets import get_dataset
from bench.spec.suites import SUITES
from paper_figures.evidence.columns import LABELS, number, plus_minus, share_columns, with_budget, with_measured
from paper_figures.evidence.comparisons import FIGURE_4, at_best, chosen, complete, twins
from paper_figures.evidence.gather import SHARES_NOTE, Evidence
from paper_figures.evidence.intervals import half_width
from paper_figures.evidence.other_suites import with_results
from paper_figures.published import TABLE2_FID
from paper_figures.tables.writing import Table, drawn

GRID = "datasets"
TITLE = "Table 2: datasets"
BUDGET = 280  # of the published values
BESIDE_FD = LABELS | {"kid": "KID", "precision": "precision", "recall": "recall"}  # where a suite has them


def tables(evidence: Evidence) -> list[Table]:
    """One table of all suites."""
    if evidence.frame.empty:
        return []
    found = with_results(evidence, GRID)
    table, others = summary(found), found[1:]
    sentences = (
        "FD: Fréchet distance, lower is better; of different features, it is not comparable between datasets.",
        *([SHARES_NOTE] if "precision" in table else []),
        *dict.fromkeys(filter(None, (one.second_note for one in found))),
        f"All with DDPM. {evidence.choice} {FIGURE_4}",
        "Published: FID-50K at 256 pixels, 280 block passes (Table 2).",
        *(f"{other.caption}. {other.choice} {other.missing}" for other in others),
    )
    return [Table("table2", table, _readable(found, table), " ".join(sentences))]


draw, table_text = drawn(tables)


def summary(found: list[Evidence]) -> pd.DataFrame:
    """A row for each dataset, suite, budget and contender: the paper's datasets first, in its order."""
    blank = {"fd": np.nan, "fd_half": np.nan} | dict.fromkeys(("features", "schedule", "ratio_text", "verdict"), "")
    of_ratio = ("schedule", "ratio", "ratio_low", "ratio_high", "ratio_text", "verdict")
    newer = any(suite.frame.precision.notna().any() for suite in found)
    rows: list[dict[str, Any]] = []
    for one in found:
        suite = one.compared
        for line, contender in product(twins(one).to_dict("records"), one.contenders):
            name = contender.name
            row = {"dataset": suite.dataset, "suite": one.suite, "budget": line["budget"], "model": name} | blank
            row |= {"fd": line[f"{name}_fd"], "fd_half": line[f"{name}_half"], "features": one.extractor}
            row |= _beside_fd(one.frame, line, contender) if newer else {}
            if contender == suite.subject:
                rows.append(row | {column: line[column] for column in of_ratio})
            else:
                rows.append(row | {"schedule": line.get(f"{name}_schedule", "")})
    measured = {row["dataset"] for row in rows}
    for dataset, model in {} if found[0].compared.own else TABLE2_FID:
        if dataset not in measured:
            rows.append({"dataset": dataset, "suite": "", "budget": BUDGET, "model": model} | blank)
    for row in rows:
        known = TABLE2_FID if row["budget"] == BUDGET else {}
        row["published_fid"] = known.get((row["dataset"], row["model"]), np.nan)
    order = list(dict.fromkeys([*(name for name, _ in TABLE2_FID), *(row["dataset"] for row in rows)]))
    rows.sort(key=lambda row: order.index(row["dataset"]))
    return with_measured(pd.DataFrame(rows))


def _beside_fd(frame: pd.DataFrame, line: dict[Any, Any], contender: Contender) -> dict[str, float]:
    """What is measured beside FD, of the cells whose FD is shown: means with halves of their intervals."""
    at = (frame.budget == line["budget"]) & (frame.sampler == line["sampler"])
    cells = frame[at & (frame.model == contender.name)]
    if contender.family.iterates and len(cells := complete(cells)):
        cells = chosen(cells)
    kid = {"kid": cells.kid.astype(float).mean(skipna=False), "kid_half": half_width(cells.kid.to_numpy(float))}
    return kid | share_columns(cells)


def _names(table: pd.DataFrame) -> list[str]:
    """Datasets for people, with the suite's name where several suites have the dataset."""
    suites = Counter(suite.dataset for suite in SUITES.values())
    return [
        get_dataset(dataset).label + (f" ({suite})" if suite and suites[dataset] > 1 else "")
        for dataset, suite in zip(table.dataset, table.suite, strict=True)
    ]


def _readable(found: list[Evidence], table: pd.DataFrame) -> pd.DataFrame:
    suites = [one.compared for one in found]
    labels = {one.name: one.label for suite in (*SUITES.values(), *suites) for one in suite.contenders}
    quotients = dict.fromkeys(f"{at_best(suite.subject)} / {at_best(suite.baseline)}" for suite in suites)
    absent = [f"not measured: needs suite {dataset}" for dataset in table.dataset]
    fd = zip(table.suite, plus_minus(table.fd, table.fd_half), absent, strict=True)
    columns = {
        "dataset": _names(table),
        "model": table.model.map(labels),
        "FD": [measured if suite else missing for suite, measured, missing in fd],
    }
    columns |= {
        text: plus_minus(table[name], table[f"{name}_half"]) for name, text in BESIDE_FD.items() if name in table
    }
    columns |= {
        "features": table.features,
        "iterations x steps": table.schedule,
        " or ".join(quotients): table.ratio_text,
        "verdict": table.verdict,
        "published FID": number(table.published_fid, ".1f"),
    }
    return with_budget(pd.DataFrame(columns), list(table.budget))
