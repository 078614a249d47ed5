"""FD of fewer images and its limit for infinitely many, beside KID, of the cells that are compared at each budget.

FD is biased by the number of images, by an amount that depends on the model. So an order of contenders should hold at
the limit too, and by KID, which has no such bias.
"""

from itertools import product
from typing import Any

import pandas as pd

from models.diffusion.samplers import label_of
from paper_figures.evidence.columns import mean_columns, plus_minus
from paper_figures.evidence.comparisons import chosen, complete, in_steps, most_often
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.pairing import where
from paper_figures.evidence.rows import PARTS
from paper_figures.tables.writing import Table, drawn

GRID = "compute"
TITLE = "FD by number of images"
JUDGES = (*PARTS[:2], "fid", "fid_limit", "kid")


def tables(evidence: Evidence) -> list[Table]:
    """The table, if records have FD of parts of their images."""
    if evidence.frame[list(PARTS)].isna().all(axis=None):
        return []
    table = summary(evidence)
    count = evidence.floor_images
    real = f"{count:,} real images that nothing was trained on have FD {evidence.floor['fid']:.3g}. " if count else ""
    note = (
        "FD: Fréchet distance, lower is better: of all images, and the means over their two halves and four quarters. "
        "Limit: of a line in 1 / images through these (Chong & Forsyth 2020); it may be negative. "
        f"{real}{evidence.choice}"
    )
    return [Table("sample_count", table, _readable(evidence, table), note, shown=False)]


draw, table_text = drawn(tables)


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a budget, sampler and contender, at its best schedule: means and halves of intervals of each measure."""
    cells, rows = evidence.asked, []
    for budget, sampler in product(sorted(set(cells.budget)), dict.fromkeys(cells.sampler)):
        for one in evidence.contenders:
            arm = where(evidence.frame, budget=budget, sampler=sampler, model=one.name)
            if arm.empty:
                continue
            picked = chosen(complete(arm))
            texts = [in_steps(evidence.compared, row) for row in picked.to_dict("records")]
            row: dict[str, Any] = {"budget": budget, "sampler": sampler, "contender": one.label}
            row["schedule"] = "".join(most_often(texts))
            for name in JUDGES:
                row |= {
                    f"{name}_{suffix}": value for suffix, value in mean_columns(picked[name].astype(float), "").items()
                }
            rows.append(row)
    return pd.DataFrame(rows)


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    n = evidence.quality[0].protocol.samples
    headings = (f"FD at {n // 4:,}", f"FD at {n // 2:,}", f"FD at {n:,}", "FD, limit", "KID")
    readable = {
        "block passes": table.budget,
        "sampler": table.sampler.map(label_of),
        "contender": table.contender,
        "schedule": table.schedule,
    }
    measured = {
        heading: plus_minus(table[f"{name}_fd"], table[f"{name}_half"])
        for name, heading in zip(JUDGES, headings, strict=True)
    }
    return pd.DataFrame(readable | measured)
