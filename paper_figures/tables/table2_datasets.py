"""Table 2: both twins on each dataset; a row for each suite with results, and the paper's datasets without."""

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.suites import MODELS, SUITES
from paper_figures import style
from paper_figures.evidence.comparisons import chosen, complete, number, twins, with_budget
from paper_figures.evidence.gather import SHARES_NOTE, Evidence, plus_minus
from paper_figures.evidence.intervals import half_width
from paper_figures.evidence.other_suites import with_results
from paper_figures.published import TABLE2_FID
from paper_figures.tables.writing import printed, write_table

GRID = "datasets"
TITLE = "Table 2: datasets"
BUDGET = 280  # of the published values
BESIDE_FD = {"kid": "KID", "precision": "precision", "recall": "recall"}  # where a suite has all of them
NAMES = {
    "celebahq": "CelebA-HQ", "ffhq": "FFHQ", "church": "LSUN-Church", "imagenet": "ImageNet", "digits": "digits",
    "fashion": "Fashion-MNIST",
}  # fmt: skip


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/table2.{csv,md,tex}."""
    if evidence.frame.empty:
        return []
    found = with_results(evidence, GRID)
    table, others = summary(found), found[1:]
    sentences = (
        "FD: Fréchet distance, lower is better; of different features, it is not comparable between datasets.",
        *([SHARES_NOTE] if "precision" in table else []),
        evidence.choice,
        "Published: FID-50K at 256 pixels, 280 block passes (Table 2).",
        *(f"{other.caption}. {other.choice} {other.missing}".rstrip() for other in others),
    )
    return write_table(evidence, "table2", table, _readable(table), " ".join(sentences))


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(summary(with_results(evidence, GRID))))


def summary(found: list[Evidence]) -> pd.DataFrame:
    """A row a dataset, suite, budget and model: the paper's datasets first, in its order."""
    blank = {"fd": np.nan, "fd_half": np.nan} | dict.fromkeys(("features", "schedule", "ratio_text", "verdict"), "")
    of_ratio = ("schedule", "ratio", "ratio_low", "ratio_high", "ratio_text", "verdict")
    newer = any(suite.frame.precision.notna().any() for suite in found)
    rows: list[dict[str, Any]] = []
    for suite in found:
        dataset = SUITES[suite.suite].dataset
        for line, model in product(twins(suite).to_dict("records"), MODELS):
            row = {"dataset": dataset, "suite": suite.suite, "budget": line["budget"], "model": model} | blank
            row |= {"fd": line[f"{model}_fd"], "fd_half": line[f"{model}_half"], "features": suite.extractor}
            row |= _beside_fd(suite.frame, row["budget"], line["sampler"], model) if newer else {}
            rows.append(row | ({name: line[name] for name in of_ratio} if model == "fpdm" else {}))
    measured = {row["dataset"] for row in rows}
    for dataset, model in TABLE2_FID:
        if dataset not in measured:
            rows.append({"dataset": dataset, "suite": "", "budget": BUDGET, "model": model} | blank)
    for row in rows:
        known = TABLE2_FID if row["budget"] == BUDGET else {}
        row["published_fid"] = known.get((row["dataset"], row["model"]), np.nan)
    order = list(dict.fromkeys([*(name for name, _ in TABLE2_FID), *(row["dataset"] for row in rows)]))
    rows.sort(key=lambda row: order.index(row["dataset"]))
    return pd.DataFrame(rows)


def _beside_fd(frame: pd.DataFrame, budget: int, sampler: str, model: str) -> dict[str, float]:
    """KID, precision and recall of the cells whose FD is shown: means with halves of their intervals."""
    cells = frame[(frame.budget == budget) & (frame.sampler == sampler) & (frame.model == model)]
    if model == "fpdm" and len(cells := complete(cells)):
        cells = chosen(cells)
    means = {name: cells[name].astype(float).mean(skipna=False) for name in BESIDE_FD}
    return means | {f"{name}_half": half_width(cells[name].to_numpy(float)) for name in BESIDE_FD}


def _names(table: pd.DataFrame) -> list[str]:
    """Datasets for people, with the suite's name where several suites have the dataset."""
    suites = Counter(suite.dataset for suite in SUITES.values())
    return [
        NAMES.get(dataset, dataset) + (f" ({suite})" if suite and suites[dataset] > 1 else "")
        for dataset, suite in zip(table.dataset, table.suite, strict=True)
    ]


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    measured = plus_minus(table.fd, table.fd_half)
    absent = [f"not measured: needs suite {dataset}" for dataset in table.dataset]
    readable = pd.DataFrame(
        {
            "dataset": _names(table),
            "model": table.model.map(style.LABELS),
            "FD": [m if suite else a for m, a, suite in zip(measured, absent, table.suite, strict=True)],
            **{
                text: plus_minus(table[name], table[f"{name}_half"])
                for name, text in BESIDE_FD.items()
                if name in table
            },
            "features": table.features,
            "iterations x steps": table.schedule,
            "best FPDM / DiT": table.ratio_text,
            "verdict": table.verdict,
            "published FID": number(table.published_fid, ".1f"),
        }
    )
    return with_budget(readable, list(table.budget))
