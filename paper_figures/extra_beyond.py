"""DiT and the best FPDM beyond the paper's budgets, where it has DiT ahead, without numbers (Sec. 4.3, 5.6)."""

from pathlib import Path

import pandas as pd

from paper_figures.comparisons import SAMPLERS, notes, twins
from paper_figures.gather import Evidence, plus_minus
from paper_figures.tables import markdown, write_table

GRID = "beyond"
TITLE = "Beyond 560 block passes"


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/beyond.{csv,md,tex}."""
    if evidence.frame.empty:
        return []
    table = twins(evidence)
    note = notes(evidence, f"FD: Fréchet distance, lower is better. {evidence.choice} The paper has no such table.")
    return write_table(evidence, "beyond", table, _readable(table), note)


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return markdown(_readable(twins(evidence)))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
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
