"""Does the order of contenders change as training grows? Quality against training time, as a figure and a table."""

from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paper_figures import style
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
from paper_figures.evidence.comparisons import (
    EACH,
    against,
    chosen,
    complete,
    in_steps,
    most_often,
    training,
    where_intervals,
)
from paper_figures.evidence.criteria import Verdict, below
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import best
from paper_figures.evidence.pairing import where
from paper_figures.tables.writing import printed, write_table

GRID = "training-time"
TITLE = "Training time"
HOUR = 3600.0  # seconds


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/training_time.{csv,md,tex} and figures/training_time.{png,pdf}; nothing of a single length."""
    if evidence.frame.empty or by_length(evidence).length.nunique() < 2:
        return []
    table = summary(evidence)
    note = f"FD: Fréchet distance, lower is better. {evidence.shares_note} {_choice(evidence, table)} "
    note += order(evidence, table) + where_intervals(evidence, EACH)
    readable = _readable(evidence, table)
    return [
        *write_table(evidence, "training_time", table, readable, note, f"{_caption(evidence)}."),
        *_figure(evidence, table),
    ]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(evidence, summary(evidence)))


def lengths(evidence: Evidence) -> list[float]:
    """Training budgets of the cells: seconds, or steps if they have a number of steps."""
    return sorted({cell.run.budget for cell in evidence.quality})


def by_length(evidence: Evidence) -> pd.DataFrame:
    """The records with a column `length`, the training budget."""
    budgets = {cell.key: cell.run.budget for cell in evidence.quality}
    return evidence.frame.assign(length=[budgets[key] for key in evidence.frame.key])


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a budget, length and contender: training steps, chosen schedule, FD, ratio to the baseline."""
    suite, frame, rows = evidence.compared, by_length(evidence), []
    runs = {(cell.model, cell.run.budget, cell.run) for cell in evidence.quality}
    for (budget, length), cells in frame.groupby(["budget", "length"]):
        for one in style.contenders(evidence, cells.model):
            own = complete(where(cells, model=one.name))
            texts = [in_steps(suite, row) for row in chosen(own).to_dict("records")]
            row: dict[str, Any] = {"budget": budget, "length": length, "model": one.name}
            trained = [run for model, seconds, run in runs if (model, seconds) == (one.name, length)]
            row |= training(evidence, trained) | {"schedule": "".join(most_often(texts)) if texts else ""}
            row |= mean_columns(best(own), "") | share_columns(chosen(own)) | {"replicates": len(texts)}
            base = where(cells, model=suite.baseline_name)
            rows.append(row | ratio_columns(None if one == suite.baseline else against(own, base)))
    return with_measured(pd.DataFrame(rows))


def order(evidence: Evidence, table: pd.DataFrame) -> str:
    """Sentences on who is ahead at each length, and on pairs whose order changes by more than their intervals."""
    said = []
    for budget, rows in table.groupby("budget"):
        where_ = f"At {budget} {evidence.unit}: " if table.budget.nunique() > 1 else ""
        said.append(f"{where_}{_of_means(evidence, rows)} {_of_pairs(evidence, rows, int(str(budget)))}".strip())
    return " ".join(said)


def _of_means(evidence: Evidence, rows: pd.DataFrame) -> str:
    """Whether the contenders' means have the same order at every length."""
    names, times = style.labels(evidence), sorted(set(rows.length))
    everywhere = [name for name, some in rows.groupby("model", sort=False) if some.fd.notna().sum() == len(times)]
    if len(everywhere) < 2 or len(times) < 2:
        return "Too few records to say whether the order of contenders changes."
    ranked = where(rows, model=everywhere).sort_values(["length", "fd"], kind="stable")
    orders = [(length, ", ".join(where(ranked, length=length).model.map(names))) for length in times]
    spans = []
    for text, group in groupby(orders, key=lambda pair: pair[1]):
        same = [length for length, _ in group]
        ends = dict.fromkeys((same[0], same[-1]))
        spans.append((" to ".join(_span(evidence, length) for length in ends), text))
    if len(spans) == 1:
        return f"The order of mean FDs is the same at every length of training: {spans[0][1]}."
    return "The order of mean FDs, best first, changes with training: " + "; ".join(f"{a}: {b}" for a, b in spans) + "."


def _of_pairs(evidence: Evidence, rows: pd.DataFrame, budget: int) -> str:
    """The pairs of which either is better at some length, intervals and all."""
    if len(evidence.replicates) < 2:
        return "One replicate does not tell an order from noise."
    if where(rows, replicates=1).length.nunique() > rows.length.nunique() - 2:
        return "A change of order needs several replicates at two lengths or more to be told from noise."
    frame = where(by_length(evidence), budget=budget)
    turned = []
    for a, b in combinations(style.contenders(evidence, frame.model), 2):
        verdicts = set()
        for _, cells in frame.groupby("length"):
            found = against(where(cells, model=a.name), where(cells, model=b.name))
            verdicts |= set() if found is None else {below(found)}
        if verdicts >= {Verdict.CONFIRMED, Verdict.CONTRADICTED}:
            turned.append(f"{a.label} and {b.label}")
    if not turned:
        return "The intervals show no pair of contenders of which one is better at one length and the other at another."
    return f"The intervals show that the order changes between {'; between '.join(turned)}."


def _counted(evidence: Evidence) -> bool:
    """Whether training budgets are numbers of steps."""
    return evidence.selection.train_steps is not None


def _span(evidence: Evidence, length: float) -> str:
    return f"{length:.6g} steps" if _counted(evidence) else f"{length:.6g} s"


def _caption(evidence: Evidence) -> str:
    times = lengths(evidence)
    return evidence.captioned(f"{times[0]:.6g} to {_span(evidence, times[-1])}")


def _choice(evidence: Evidence, table: pd.DataFrame) -> str:
    """How schedules were chosen, and which lengths of training have one replicate only."""
    if len(evidence.replicates) > 1:
        text = "Where a contender has several schedules, its own is chosen, for each replicate, on the others."
        once = [_span(evidence, length) for length in sorted(set(where(table, replicates=1).length))]
        if once:
            text += f" One replicate only, so no interval and a schedule chosen on its own samples: {', '.join(once)}."
        return text
    return (
        "Where a contender has several schedules, its own is chosen on the very samples that score it, for want of a "
        "second replicate, which flatters those with more."
    )


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    unit = "steps" if _counted(evidence) else "s"
    readable = pd.DataFrame(
        {
            f"training ({unit})": number(table.length, ".6g"),
            "contender": table.model.map(style.labels(evidence)),
            "training steps": number(table.training_steps, ".0f"),
            "chosen": table.schedule,
            "FD": plus_minus(table.fd, table.half),
            **readable_shares(table),
            f"FD / {evidence.compared.baseline.label}": table.ratio_text,
        }
    )
    return with_budget(readable, list(table.budget))


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    """FD against training time, a panel a budget."""
    if not np.isfinite(table.fd).any():
        return []
    hours = not _counted(evidence) and table.length.min() >= HOUR
    unit = "steps" if _counted(evidence) else "hours" if hours else "seconds"
    rows = table.rename(columns={"half": "fd_half"}).assign(series=table.model.map(style.labels(evidence)))
    rows["length"] = rows.length / (HOUR if hours else 1)
    rows["panel"] = [f"{budget} {evidence.unit}" for budget in rows.budget]
    looks = {one.label: style.look(one) for one in style.contenders(evidence, rows.model)}
    grid = style.facets(rows, "length", "panel", looks, height_in=3.0, apart=1.05)
    for axis in grid.axes.flat:
        style.few_ticks(axis, sorted(set(rows.length)), rows.fd.to_numpy(float))
    grid.set_axis_labels(f"training of each contender ({unit})", style.fd_label(evidence))
    style.shared_legend(grid.figure, grid.axes.flat)
    style.note(grid.figure, f"{_caption(evidence)}. {_choice(evidence, table)}{style.crosses(rows)}")
    return style.save(grid.figure, evidence.path("figures", "training_time"))
