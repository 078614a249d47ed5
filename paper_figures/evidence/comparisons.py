"""What several tables share: who is compared with whom, replicate by replicate, and how the answer is put in words.

Records may be missing, of one replicate, or diverged: what can be said of the rest is said.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bench.spec.cells import TrainingRun
from paper_figures import style
from paper_figures.evidence import pairing as claim_evidence
from paper_figures.evidence.gather import Evidence, plus_minus
from paper_figures.evidence.intervals import Ratio, Verdict, below, best, by_seed, half_width, ratio
from paper_figures.published import TABLE1_FID

SAMPLERS = {"ddpm": "DDPM", "ddim": "DDIM", "dpm++": "DPM-Solver++", "unipc": "UniPC"}
FAR_APART = 5  # values whose ratio is larger need a logarithmic axis
EQUAL = 0.01  # ratios this near to 1, interval and all, are called so
EACH = "Each interval stands for itself: of twenty, one is expected to miss."
TRAINED_ONCE = (
    "Configurations other than the suite's own are trained once: their ± is of sampling alone, and the interval of a "
    "ratio lends them the spread of the suite's own over training seeds."
)
TWIN_COLUMNS = (
    "budget", "sampler", "dit_fd", "dit_half", "fpdm_fd", "fpdm_half", "iterations", "steps", "schedule", "replicates",
    "ratio", "ratio_low", "ratio_high", "ratio_text", "verdict",
)  # fmt: skip


def where_intervals(evidence: Evidence, sentence: str) -> str:
    """A sentence on intervals, with a space before it; nothing if there are none, as of one replicate."""
    return f" {sentence}" if len(evidence.replicates) > 1 else ""


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The replicates that have every number of iterations; if none has, the numbers that every replicate has."""
    table = frame.pivot_table(index="seed", columns="iterations", values="fid").notna()
    if (whole := table.all(axis=1)).any():
        return frame[frame.seed.isin(table.index[whole])]
    return frame[frame.iterations.isin(table.columns[table.all()])]


def paired(a: pd.DataFrame, b: pd.DataFrame) -> Ratio | None:
    """FD of a over b, from the replicates and iterations that both have: over several, the ratio of geometric means."""
    columns = ["seed", "iterations", "fid"]
    pairs = complete(a[columns].merge(b[columns], on=columns[:2], suffixes=("", "_b")))
    return ratio(by_seed(pairs), by_seed(pairs, "fid_b")) if len(pairs) else None


def between_runs(evidence: Evidence, a: pd.DataFrame, b: pd.DataFrame) -> Ratio | None:
    """FD of a over b at one budget and number of iterations, where either may have been trained once."""
    if not set(a.seed) & set(b.seed):
        return None
    with np.errstate(invalid="ignore"):
        return claim_evidence.between_runs(evidence, a, b)


def in_words(found: Ratio | None, judge: bool = True) -> str:
    """A ratio of FDs with its interval and, if `judge`, what it says of the first of the two."""
    if found is None:
        return ""
    if math.isnan(found.estimate):
        return "both diverged"
    if math.isinf(found.estimate) or found.estimate == 0:
        return "diverged" if found.estimate else "the other diverged"
    if math.isnan(found.low):
        return f"{found.estimate:.{found.digits}f} (no interval)"
    if max(1 - found.low, found.high - 1) < EQUAL:
        word = f"within {EQUAL:.0%}"  # better or worse, if at all, by less than anybody would care for
    else:
        word = {Verdict.CONFIRMED: "better", Verdict.CONTRADICTED: "worse"}.get(below(found), "inconclusive")
    return f"{found}, {word}" if judge else str(found)


def ratio_columns(found: Ratio | None, judge: bool = True) -> dict[str, Any]:
    """A ratio as columns of a table: estimate, bounds, text."""
    numbers = (math.nan,) * 3 if found is None else (found.estimate, found.low, found.high)
    names = [f"ratio{suffix}" for suffix in ("", "_low", "_high", "_text")]
    return dict(zip(names, (*numbers, in_words(found, judge)), strict=True))


def mean_columns(values: pd.Series, prefix: str) -> dict[str, float]:
    """Mean and half of its interval, of one value a replicate."""
    with np.errstate(invalid="ignore"):
        return {f"{prefix}fd": values.mean(), f"{prefix}half": half_width(values.to_numpy(float))}


def against_dit(cells: pd.DataFrame) -> dict[str, Any]:
    """DiT, the best FPDM (`intervals.best`) and their ratio: as much as the cells of one budget and sampler tell."""
    dit, fpdm = cells[cells.model == "dit"], complete(cells[cells.model == "fpdm"])
    line: dict[str, Any] = {"schedule": "", "ratio_text": "", "verdict": "incomplete"}
    if len(dit):
        line |= mean_columns(by_seed(dit), "dit_")
    if len(fpdm):
        line |= mean_columns(best(fpdm), "fpdm_") | _schedule(fpdm)
    both = set(dit.seed) & set(fpdm.seed)
    dit, fpdm = (arm[arm.seed.isin(both)] for arm in (dit, fpdm))
    if both:
        found = ratio(best(fpdm), by_seed(dit), apart=True)
        line |= ratio_columns(found, judge=False) | {"verdict": verdict(found, len(both)), "replicates": len(both)}
    return line


def verdict(found: Ratio, replicates: int) -> str:
    """Which model is better, as far as the intervals tell."""
    if replicates < 2:
        return "one replicate, noise unknown"
    return {Verdict.CONFIRMED: "FPDM better", Verdict.CONTRADICTED: "DiT better"}.get(below(found), "inconclusive")


def chosen(fpdm: pd.DataFrame) -> pd.DataFrame:
    """A row a replicate: the cell of the schedule that is chosen for it (`intervals.best`)."""
    return fpdm[fpdm.fid == fpdm.seed.map(best(fpdm))].drop_duplicates("seed")


def _schedule(fpdm: pd.DataFrame) -> dict[str, Any]:
    """The schedule that is chosen most often, and by how many replicates if not by all."""
    rows = chosen(fpdm)
    k = int(rows.iterations.mode().iloc[0])
    steps, count = int(rows[rows.iterations == k].steps.iloc[0]), int((rows.iterations == k).sum())
    text = f"{k} x {steps}" + ("" if count == len(rows) else f" ({count} of {len(rows)})")
    return {"iterations": k, "steps": steps, "schedule": text}


def twins(evidence: Evidence) -> pd.DataFrame:
    """A row a budget and sampler: DiT, the best FPDM, their ratio, and the values of the paper's Table 1."""
    frame, cells = evidence.frame, evidence.asked
    lines = []
    for budget, sampler in product(sorted(set(cells.budget)), dict.fromkeys(cells.sampler)):
        line = {"budget": budget, "sampler": sampler}
        line |= against_dit(frame[(frame.budget == budget) & (frame.sampler == sampler)])
        published = {m: TABLE1_FID.get((budget, m), {}).get(sampler, math.nan) for m in ("dit", "fpdm")}
        line |= {f"published_{m}_fid": value for m, value in published.items()}
        lines.append(line | {"published_ratio": published["fpdm"] / published["dit"]})
    table = pd.DataFrame(lines)
    return table.reindex(columns=[*TWIN_COLUMNS, *(name for name in map(str, table) if name.startswith("published"))])


def readable_twins(table: pd.DataFrame) -> pd.DataFrame:
    """What was measured of `twins`, with headings and rounding for people."""
    return pd.DataFrame(
        {
            "block passes": table.budget,
            "sampler": table.sampler.map(SAMPLERS),
            "DiT FD": plus_minus(table.dit_fd, table.dit_half),
            "best FPDM FD": plus_minus(table.fpdm_fd, table.fpdm_half),
            "iterations x steps": table.schedule,
            "best FPDM / DiT": table.ratio_text,
            "verdict": table.verdict,
        }
    )


def published_twins(table: pd.DataFrame) -> dict[str, list[str]]:
    """The published columns of `twins`, for people."""
    return {
        "published DiT FID": number(table.published_dit_fid, ".1f"),
        "published FPDM FID": number(table.published_fpdm_fid, ".1f"),
    }


def training(evidence: Evidence, runs: Iterable[TrainingRun]) -> dict[str, float]:
    """What equal seconds bought: steps and seconds a step, means over runs; how many runs have ended."""
    summaries = [s for run in dict.fromkeys(runs) if (s := evidence.store.read_training(run)) and s["step"]]
    steps = [s["step"] for s in summaries]
    seconds = [s["elapsed_s"] / s["step"] for s in summaries]
    mean = (np.mean(steps), np.mean(seconds)) if summaries else (math.nan, math.nan)
    return {"training_steps": float(mean[0]), "seconds_a_step": float(mean[1]), "trainings": len(summaries)}


def number(values: Iterable[float], form: str) -> list[str]:
    """Cells of a table for people; empty where there is no number."""
    return ["" if value is None or math.isnan(value) else format(value, form) for value in values]


def with_budget(readable: pd.DataFrame, budgets: Sequence[int]) -> pd.DataFrame:
    """With a first column of block passes, if there are several budgets."""
    if len(set(budgets)) < 2:
        return readable
    return readable.assign(**{"block passes": budgets})[["block passes", *readable]]


def bars(axis: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    """FD (columns fd, fd_half) against x with its intervals; a cross at the top where it diverged."""
    style.curve(axis, x, rows.assign(fd=rows.fd.where(np.isfinite(rows.fd))), **look)  # a gap where there is none
    if (lost := np.isinf(rows.fd)).any():
        axis.plot(
            x[lost], np.ones(lost.sum()), "x", color=look["color"], transform=axis.get_xaxis_transform(), clip_on=False
        )


def few_ticks(axis: Axes, ticks: Sequence[int], values: np.ndarray) -> None:
    """A logarithmic x axis with these ticks only; a y axis that is logarithmic if the values are far apart."""
    axis.set_xscale("log")
    axis.set_xticks(list(ticks), [str(tick) for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(min(ticks) / 1.25, max(ticks) * 1.25)
    finite = values[np.isfinite(values)]
    if len(finite) and finite.max() > FAR_APART * finite.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_formatter("{x:g}")
