"""Is iterating needed? The subject with several iterations and with one, at equal timesteps, as a table."""

from typing import Any

import pandas as pd

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
from paper_figures.evidence.comparisons import EACH, where_intervals
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import by_seed, ratio
from paper_figures.evidence.pairing import where
from paper_figures.tables.writing import Table, drawn

GRID = "equal-timesteps"
TITLE = "Iterations at equal timesteps"


def tables(evidence: Evidence) -> list[Table]:
    """The one table."""
    if evidence.frame.empty:
        return []
    table, label = summary(evidence), evidence.compared.subject.label
    note = (
        f"FD: Fréchet distance, lower is better. {evidence.shares_note} "
        f"Both have the same weights, timesteps and noise; {label} with one "
        f"iteration spends fewer block passes.{where_intervals(evidence, EACH)}"
    )
    return [Table("equal_timesteps", table, _readable(table), note)]


draw, table_text = drawn(tables)


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a sampler and number of iterations: steps, passes and FD with it and with one, and their ratio."""
    rows: list[dict[str, Any]] = []
    frame = where(evidence.frame, model=evidence.compared.subject_name)
    once = frame[frame.iterations == 1]
    for (sampler, k, steps), many in frame[frame.iterations > 1].groupby(
        ["sampler", "iterations", "steps"], sort=False
    ):
        few = where(once, sampler=sampler, steps=steps)
        row: dict[str, Any] = {"sampler": sampler, "steps": steps, "iterations": k}
        for name, cells in (("many_", many), ("once_", few)):
            row |= {f"{name}passes": cells.block_passes.mean()} | mean_columns(by_seed(cells), name)
            row |= share_columns(cells, name)
        both = set(many.seed) & set(few.seed)
        rows.append(row | ratio_columns(ratio(by_seed(many), by_seed(few)) if both else None))
    return with_measured(pd.DataFrame(rows))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sampler": table.sampler.map(label_of),
            "steps": table.steps,
            "iterations": table.iterations,
            "block passes": table.many_passes.map("{:.0f}".format),
            "FD": plus_minus(table.many_fd, table.many_half),
            "with one: block passes": number(table.once_passes, ".0f"),
            "with one: FD": plus_minus(table.once_fd, table.once_half),
            "FD / with one": table.ratio_text,
        }
        | readable_shares(table, "many_")
        | readable_shares(table, "once_", "with one: {}")
    )
