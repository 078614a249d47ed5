"""DiT and the best FPDM beyond the paper's budgets, where it has DiT ahead, without numbers (Sec. 4.3, 5.6)."""

from pathlib import Path

from paper_figures.evidence.comparisons import ONE_SAMPLER, readable_twins, twins
from paper_figures.evidence.gather import Evidence
from paper_figures.tables.writing import printed, write_table

GRID = "beyond"
TITLE = "Beyond 560 block passes"


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/beyond.{csv,md,tex}."""
    if evidence.frame.empty:
        return []
    table = twins(evidence)
    note = f"FD: Fréchet distance, lower is better. {evidence.shares_note} {evidence.choice} {ONE_SAMPLER} "
    note += "The paper has no such table."
    return write_table(evidence, "beyond", table, readable_twins(evidence, table), note)


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, readable_twins(evidence, twins(evidence)))
