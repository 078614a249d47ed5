"""Columns of tables for people: numbers, means with their intervals, ratios in words."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.cells import CELL_COLUMNS
from bench.spec.metrics import SECOND_METRICS
from paper_figures.evidence.criteria import Verdict, below
from paper_figures.evidence.intervals import Ratio, half_width
from paper_figures.evidence.rows import SECOND, SHARES

BESIDE_FD = (*SHARES, *SECOND)  # measured of some cells only
LABELS = {metric.name: metric.label for metric in SECOND_METRICS.values()}  # headings that are not the names
EQUAL = 0.01  # a ratio whose interval is this near to 1 is called equal


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per network and schedule: quality as mean with its 95% interval over replicates; medians of the times."""
    shares = [name for name in BESIDE_FD if frame[name].notna().any()]
    keys = [c for c in CELL_COLUMNS if c not in ("seed", "train_seed", "train_run", "key")]

    def half(values: pd.Series) -> float:
        return half_width(values.to_numpy())

    rows = (
        frame.groupby(keys, as_index=False)
        .agg(
            fd=("fid", "mean"),
            fd_half=("fid", half),
            kid=("kid", "mean"),
            kid_half=("kid", half),
            **{name: (name, lambda values: values.mean(skipna=False)) for name in shares},
            **{f"{name}_half": (name, half) for name in shares},
            spent=("spent", "mean"),
            comparable=("comparable", "all"),
            images_per_s=("images_per_s", "median"),
            latency_s=("latency_s", "median"),
            seeds=("seed", "nunique"),
            train_seeds=("train_seed", "nunique"),
        )
        .sort_values(["budget", "model", "iterations"])
    )
    return rows.assign(fd_low=rows.fd - rows.fd_half, fd_high=rows.fd + rows.fd_half)


def quality_columns(rows: pd.DataFrame) -> dict[str, list[str]]:
    """FD, KID and, where there are any, precision, recall and a second extractor's distance of `over_seeds`."""
    known = [name for name in BESIDE_FD if name in rows]
    shares = {LABELS.get(name, name): plus_minus(rows[name], rows[f"{name}_half"]) for name in known}
    return {"FD": plus_minus(rows.fd, rows.fd_half), "KID": plus_minus(rows.kid, rows.kid_half)} | shares


def mean_columns(values: pd.Series, prefix: str) -> dict[str, float]:
    """Mean and half of its interval, of one value a replicate: `<prefix>fd` and `<prefix>half`."""
    with np.errstate(invalid="ignore"):
        return {f"{prefix}fd": values.mean(), f"{prefix}half": half_width(values.to_numpy(float))}


def share_columns(cells: pd.DataFrame, prefix: str = "") -> dict[str, float]:
    """Precision, recall and a second extractor's distance of cells: means over replicates, halves of their intervals.

    NaN where not measured.
    """
    found: dict[str, float] = {}
    for name in BESIDE_FD:
        values = cells[name].astype(float).groupby(cells.seed).mean().to_numpy()
        found[f"{prefix}{name}"] = values.mean() if len(values) else math.nan
        found[f"{prefix}{name}_half"] = half_width(values)
    return found


def readable_shares(table: pd.DataFrame, prefix: str = "", heading: str = "{}") -> dict[str, list[str]]:
    """Columns of `share_columns` for people, by heading; none where nothing was measured."""
    known = [name for name in BESIDE_FD if f"{prefix}{name}" in table and table[f"{prefix}{name}"].notna().any()]
    return {
        heading.format(LABELS.get(name, name)): plus_minus(table[f"{prefix}{name}"], table[f"{prefix}{name}_half"])
        for name in known
    }


def with_measured(table: pd.DataFrame) -> pd.DataFrame:
    """The table without columns of precision, recall and a second extractor's distance that are empty."""
    of_shares = [name for name in map(str, table) if name.removesuffix("_half").endswith(BESIDE_FD)]
    empty = [name for name in of_shares if table[name.removesuffix("_half")].isna().all()]
    return table.drop(columns=empty)


def ratio_columns(found: Ratio | None, judge: bool = True) -> dict[str, Any]:
    """Estimate, bounds and text of a ratio."""
    numbers = (math.nan,) * 3 if found is None else (found.estimate, found.low, found.high)
    names = [f"ratio{suffix}" for suffix in ("", "_low", "_high", "_text")]
    return dict(zip(names, (*numbers, in_words(found, judge)), strict=True))


def in_words(found: Ratio | None, judge: bool = True) -> str:
    """A ratio of FDs with its interval and, if `judge`, whether the first of the two is better."""
    if found is None:
        return ""
    if math.isnan(found.estimate):
        return "both diverged"
    if math.isinf(found.estimate) or found.estimate == 0:
        return "diverged" if found.estimate else "the other diverged"
    if math.isnan(found.low):
        return f"{found.estimate:.{found.digits}f} (no interval)"
    if max(1 - found.low, found.high - 1) < EQUAL:
        word = f"within {EQUAL:.0%}"  # a difference too small to matter, even where its sign is known
    else:
        word = {Verdict.CONFIRMED: "better", Verdict.CONTRADICTED: "worse"}.get(below(found), "inconclusive")
    return f"{found}, {word}" if judge else str(found)


def plus_minus(mean: pd.Series, half: pd.Series, digits: int = 3) -> list[str]:
    """`1.103 ± 0.061`; without an interval, the mean alone; `diverged` for infinity."""
    written = []
    for m, h in zip(mean, half, strict=True):
        text = "diverged" if np.isinf(m) else "" if np.isnan(m) else f"{m:.{digits}f}"
        written.append(text if np.isinf(m) or np.isnan(h) else f"{text} ± {h:.{digits}f}")
    return written


def number(values: Iterable[float], form: str) -> list[str]:
    """Formatted numbers; empty where there is none."""
    return ["" if value is None or math.isnan(value) else format(value, form) for value in values]


def percent(values: Iterable[float], form: str = ".1f") -> list[str]:
    """Numbers that are percentages already, with their sign; empty where there is none."""
    return [text and f"{text}%" for text in number(values, form)]


def texts(column: pd.Series, absent: str = "") -> list[str]:
    """Texts, with `absent` for what is missing."""
    return [value if isinstance(value, str) else absent for value in column]


def with_budget(readable: pd.DataFrame, budgets: Sequence[int]) -> pd.DataFrame:
    """The table with a first column of block passes, if there are several budgets."""
    if len(set(budgets)) < 2:
        return readable
    return readable.assign(**{"block passes": budgets})[["block passes", *readable]]
