"""Comparisons over replicates: every contender at each budget and sampler, and one configuration with another.

Records may be missing, of one replicate, or diverged: the rest is compared all the same.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.cells import TrainingRun
from bench.spec.contenders import Contender, Suite
from models.diffusion.samplers import label_of
from paper_figures.evidence.columns import (
    mean_columns,
    number,
    plus_minus,
    ratio_columns,
    readable_shares,
    share_columns,
    with_measured,
)
from paper_figures.evidence.criteria import Verdict, below
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, best, by_choice, by_seed, ratio
from paper_figures.published import TABLE1_FID

FAR_APART = 5  # values whose ratio is larger need a logarithmic axis
EACH = "Each interval stands for itself: of twenty, one is expected to miss."
ONE_SAMPLER = "A verdict is of one sampler here; claims on budgets need both DDPM and DDIM."
FIGURE_4 = (
    "Figure 4 (smoothing_best) chooses among more numbers of iterations, and so do the claims with DDPM: where a ratio "
    "here differs from theirs, the choice is what differs."
)
JUDGES = {"fid_limit": "FD's limit in 1/n", "kid": "KID"}  # beside FD


def where_intervals(evidence: Evidence, sentence: str) -> str:
    """A sentence on intervals, with a space before it; empty where one replicate has none."""
    return f" {sentence}" if len(evidence.replicates) > 1 else ""


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The replicates that have every schedule; if none has, the schedules that every replicate has."""
    table = by_choice(frame).notna()
    if (whole := table.all(axis=1)).any():
        return frame[frame.seed.isin(table.index[whole])]
    return frame.set_index(table.columns.names).loc[table.columns[table.all()]].reset_index()


def paired(a: pd.DataFrame, b: pd.DataFrame) -> Ratio | None:
    """FD of a over b, from the replicates and iterations that both have: over several, the ratio of geometric means."""
    columns = ["seed", "iterations", "fid"]
    pairs = complete(a[columns].merge(b[columns], on=columns[:2], suffixes=("", "_b")))
    return ratio(by_seed(pairs), by_seed(pairs, "fid_b")) if len(pairs) else None


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each replicate: the cell of the schedule that is chosen for it (`intervals.best`)."""
    return frame[frame.fid == frame.seed.map(best(frame))].drop_duplicates("seed")


def scores(contender: Contender, cells: pd.DataFrame) -> pd.Series:
    """FD of each replicate, at the best schedule (`intervals.best`) of a contender that has several."""
    return best(cells) if contender.chooses else by_seed(cells)


def _picked(contender: Contender, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that score a contender: those of the chosen schedules, if it has several."""
    return chosen(cells) if contender.chooses else cells


def against(a: pd.DataFrame, b: pd.DataFrame) -> Ratio | None:
    """FD of a over b, each at what is best on the other replicates: contender and schedule; None if none is common."""
    sides = [complete(side) for side in (a, b) if len(side)]
    common = set(a.seed).intersection(*(side.seed for side in sides))
    if len(sides) < 2 or not common:
        return None
    a, b = (side[side.seed.isin(common)] for side in sides)
    return ratio(best(a), best(b))


def disagreement(found: Ratio, a: pd.DataFrame, b: pd.DataFrame) -> str:
    """The metrics whose means order two sides otherwise than FD does, as the end of a sentence.

    Empty if none does, or if FD's order is not known.

    Args:
        found: FD of a over b.
        a, b: a cell a replicate.
    """
    if not below(found).decided:
        return ""
    other, lower = [], below(found).holds
    for name, label in JUDGES.items():
        ours, theirs = (side[name].astype(float).mean(skipna=False) for side in (a, b))
        if np.isfinite([ours, theirs]).all() and ((theirs < ours) if lower else (ours < theirs)):
            other.append(label)
    return f"; the opposite by {' and '.join(other)}" if other else ""


def twins(evidence: Evidence) -> pd.DataFrame:
    """A row for each budget and sampler: what each contender reaches, the ratio of subject to baseline, Table 1's FID.

    Columns are `<name>_fd` and `<name>_half` of each contender, its `<name>_schedule` if it iterates (of the subject:
    `iterations`, `steps`, `schedule`), `<name>_precision` and `<name>_recall` where measured, `ratio*`, `verdict`,
    and `published_*` of baseline and subject.
    """
    suite, frame, cells = evidence.compared, evidence.frame, evidence.asked
    both, lines = (suite.baseline_name, suite.subject_name), []
    for budget, sampler in product(sorted(set(cells.budget)), dict.fromkeys(cells.sampler)):
        line = {"budget": budget, "sampler": sampler}
        line |= _reached(evidence, frame[(frame.budget == budget) & (frame.sampler == sampler)])
        known = {} if suite.own else TABLE1_FID
        published = {name: known.get((budget, name), {}).get(sampler, math.nan) for name in both}
        line |= {f"published_{name}_fid": value for name, value in published.items()}
        lines.append(line | {"published_ratio": published[both[1]] / published[both[0]]})
    columns = [
        "budget", "sampler", *(f"{one.name}_{value}" for one in evidence.contenders for value in ("fd", "half")),
        "iterations", "steps", "schedule", "replicates", "ratio", "ratio_low", "ratio_high", "ratio_text", "verdict",
    ]  # fmt: skip
    table = pd.DataFrame(lines)
    return with_measured(table.reindex(columns=[*columns, *(str(name) for name in table if name not in columns)]))


def _reached(evidence: Evidence, cells: pd.DataFrame) -> dict[str, Any]:
    """The columns of `twins` that the cells of one budget and sampler give, as far as they are there."""
    suite = evidence.compared
    baseline, subject = suite.baseline, suite.subject
    line: dict[str, Any] = {"schedule": "", "ratio_text": "", "verdict": "incomplete"}
    arms = {}
    for one in evidence.contenders:
        arm = cells[cells.model == one.name]
        arms[one.name] = arm = complete(arm) if one.chooses else arm
        if len(arm):
            line |= mean_columns(scores(one, arm), f"{one.name}_")
            line |= share_columns(_picked(one, arm), f"{one.name}_")
        if one.chooses:
            schedule = _schedule(one, arm) if len(arm) else {"schedule": ""}
            line |= schedule if one == subject else {f"{one.name}_schedule": schedule["schedule"]}
    ours, theirs = arms[subject.name], arms[baseline.name]
    if common := set(ours.seed) & set(theirs.seed):
        both = ((subject, ours), (baseline, theirs))
        ours, theirs = (_picked(one, arm[arm.seed.isin(common)]) for one, arm in both)
        quotient = ratio(by_seed(ours), by_seed(theirs))
        found = verdict(suite, quotient, len(common)) + disagreement(quotient, ours, theirs)
        line |= ratio_columns(quotient, judge=False) | {"verdict": found, "replicates": len(common)}
    return line


def verdict(suite: Suite, found: Ratio, replicates: int) -> str:
    """Which of subject and baseline is better, as far as the intervals tell."""
    if replicates < 2:
        return "one replicate, no verdict"
    better = {Verdict.CONFIRMED: suite.subject, Verdict.CONTRADICTED: suite.baseline}.get(below(found))
    return f"{better.label} better" if better else "inconclusive"


def _schedule(contender: Contender, cells: pd.DataFrame) -> dict[str, Any]:
    """The schedule that is chosen most often, and by how many replicates if not by all."""
    rows = chosen(cells)
    texts = [in_schedule(contender, row) for row in rows.to_dict("records")]
    text, often = most_often(texts)
    row = rows.iloc[texts.index(text)]
    return {"iterations": int(row.iterations), "steps": int(row.steps), "schedule": f"{text}{often}"}


def most_often(texts: Sequence[str]) -> tuple[str, str]:
    """The most frequent text, of equals the first; how many of them it is, if it is not all: ` (2 of 3)`."""
    text = max(dict.fromkeys(texts), key=texts.count)
    count = texts.count(text)
    return text, "" if count == len(texts) else f" ({count} of {len(texts)})"


def in_schedule(contender: Contender, row: Mapping[Hashable, Any]) -> str:
    """The schedule of a cell's row in words (`Family.schedule`)."""
    options = {name: row[name] for name in ("n_pre", "n_post", "reuse_mix") if name in contender.family.options}
    return contender.family.schedule(replace(contender.config, **options), row["iterations"], row["steps"])


def in_steps(suite: Suite, row: Mapping[Hashable, Any]) -> str:
    """The schedule of any contender's row in words: its steps alone, where there is nothing to choose."""
    contender = suite.contender(str(row["model"]))
    return in_schedule(contender, row) if contender.chooses else f"{row['steps']} steps"


def at_best(contender: Contender) -> str:
    """A contender's label, with "best" before it where a schedule is chosen for it."""
    return f"best {contender.label}" if contender.chooses else contender.label


def readable_twins(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """The measured columns of `twins` for people."""
    suite = evidence.compared
    readable: dict[str, Any] = {"block passes": table.budget, "sampler": table.sampler.map(label_of)}
    for one in evidence.contenders:
        readable[f"{at_best(one)} FD"] = plus_minus(table[f"{one.name}_fd"], table[f"{one.name}_half"])
    for one in evidence.contenders:
        readable |= readable_shares(table, f"{one.name}_", f"{at_best(one)} {{}}")
    readable["iterations x steps"] = table.schedule
    for one in evidence.contenders:
        if one.chooses and one != suite.subject:
            readable[f"iterations x steps, {one.label}"] = table[f"{one.name}_schedule"]
    readable[f"{at_best(suite.subject)} / {at_best(suite.baseline)}"] = table.ratio_text
    return pd.DataFrame(readable | {"verdict": table.verdict})


def published_twins(evidence: Evidence, table: pd.DataFrame) -> dict[str, list[str]]:
    """The published columns of `twins` for people."""
    both = (evidence.compared.baseline, evidence.compared.subject)
    return {f"published {one.label} FID": number(table[f"published_{one.name}_fid"], ".1f") for one in both}


def training(evidence: Evidence, runs: Iterable[TrainingRun]) -> dict[str, float]:
    """Training that equal seconds bought: steps and seconds a step, means over runs; how many runs have ended.

    Seconds are NaN where the grid's trainings are of different machines.
    """
    summaries = [s for run in dict.fromkeys(runs) if (s := evidence.store.read_training(run)) and s["step"]]
    steps, together = [s["step"] for s in summaries], len(trained_on(evidence)) == 1
    seconds = [s["elapsed_s"] / s["step"] if together else math.nan for s in summaries]
    mean = (np.mean(steps), np.mean(seconds)) if summaries else (math.nan, math.nan)
    return {"training_steps": float(mean[0]), "seconds_a_step": float(mean[1]), "trainings": len(summaries)}


def trained_on(evidence: Evidence) -> set[tuple[str, ...]]:
    """The different machines, numbers of ranks and executions of the trainings of a grid that have ended."""
    runs = {cell.run for cell in evidence.cells if cell.run is not None}
    ended = [summary for run in runs if (summary := evidence.store.read_training(run)) is not None]
    return {
        (str(one.get("environment", {}).get("hardware")), str(one.get("ranks", 1)), one.get("execution") or "")
        for one in ended
    }


def no_seconds(evidence: Evidence) -> str:
    """A sentence, with a space before it, where seconds of trainings cannot be compared; empty where they can."""
    return " Trained on different machines, hence no seconds a step." if len(trained_on(evidence)) > 1 else ""
