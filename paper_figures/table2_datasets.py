"""Table 2: both twins on each dataset; a row for each suite with results, and the paper's datasets without."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.suites import MODELS, SUITES
from paper_figures import style
from paper_figures.comparisons import number, twins, with_budget
from paper_figures.gather import Evidence, beside, plus_minus
from paper_figures.published import TABLE2_FID
from paper_figures.tables import printed, write_table

GRID = "datasets"
TITLE = "Table 2: datasets"
BUDGET = 280  # of the published values
NAMES = {
    "celebahq": "CelebA-HQ", "ffhq": "FFHQ", "church": "LSUN-Church", "imagenet": "ImageNet", "digits": "digits",
}  # fmt: skip


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/table2.{csv,md,tex}."""
    if evidence.frame.empty:
        return []
    table, others = summary(evidence), suites(evidence)[1:]
    sentences = (
        "FD: Fréchet distance, lower is better; of different features, it is not comparable between datasets.",
        evidence.choice,
        "Published: FID-50K at 256 pixels, 280 block passes (Table 2).",
        *(f"{other.caption}." for other in others),
    )
    note = " ".join(sentences)
    return write_table(evidence, "table2", table, _readable(table), note)


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(summary(evidence)))


def suites(evidence: Evidence) -> list[Evidence]:
    """This suite's evidence, and that of every other suite with results in the same folder (its default cells)."""
    found = [evidence]
    for name in (name for name in SUITES if name != evidence.suite):
        other = beside(evidence, name, GRID)
        found += [other] if len(other.frame) else []
    return found


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a dataset, budget and model: the paper's datasets first, in its order."""
    blank = {"fd": np.nan, "fd_half": np.nan} | dict.fromkeys(("features", "schedule", "ratio_text", "verdict"), "")
    of_ratio = ("schedule", "ratio", "ratio_low", "ratio_high", "ratio_text", "verdict")
    rows: list[dict[str, Any]] = []
    for suite in suites(evidence):
        dataset = SUITES[suite.suite].dataset
        for line, model in product(twins(suite).to_dict("records"), MODELS):
            row = {"dataset": dataset, "suite": suite.suite, "budget": line["budget"], "model": model} | blank
            row |= {"fd": line[f"{model}_fd"], "fd_half": line[f"{model}_half"], "features": suite.extractor}
            rows.append(row | ({name: line[name] for name in of_ratio} if model == "fpdm" else {}))
    measured = {row["dataset"] for row in rows}
    for dataset, model in TABLE2_FID:
        if dataset not in measured:
            rows.append({"dataset": dataset, "suite": "", "budget": BUDGET, "model": model} | blank)
    for row in rows:
        known = TABLE2_FID if row["budget"] == BUDGET else {}
        row["published_fid"] = known.get((row["dataset"], row["model"]), np.nan)
    order = list(dict.fromkeys(dataset for dataset, _ in TABLE2_FID))
    rows.sort(key=lambda row: order.index(row["dataset"]) if row["dataset"] in order else len(order))
    return pd.DataFrame(rows)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    measured = plus_minus(table.fd, table.fd_half)
    absent = [f"not measured: needs suite {dataset}" for dataset in table.dataset]
    readable = pd.DataFrame(
        {
            "dataset": table.dataset.map(lambda name: NAMES.get(name, name)),
            "model": table.model.map(style.LABELS),
            "FD": [m if suite else a for m, a, suite in zip(measured, absent, table.suite, strict=True)],
            "features": table.features,
            "iterations x steps": table.schedule,
            "best FPDM / DiT": table.ratio_text,
            "verdict": table.verdict,
            "published FID": number(table.published_fid, ".1f"),
        }
    )
    return with_budget(readable, list(table.budget))
