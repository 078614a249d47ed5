"""The spread of quality between trainings, and between sampling seeds of one training: what an interval is made of."""

import pandas as pd

from paper_figures.evidence.columns import number
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.noise import percent, spreads
from paper_figures.tables.writing import Table, drawn

GRID = "panel"
TITLE = "Noise: trainings and sampling seeds"


def tables(evidence: Evidence) -> list[Table]:
    """A row for each contender; nothing without two trainings of two sampling seeds."""
    table = spreads(evidence.every_sample)
    if table.empty:
        return []
    cell = evidence.quality[0]
    iterations = sorted({one.iterations for one in evidence.quality if one.model == evidence.compared.subject_name})
    note = (
        f"At {cell.budget} {evidence.unit} with DDPM, {evidence.compared.subject.label} with "
        f"{' and '.join(map(str, iterations))} iterations. Spreads are standard deviations of log FD, as shares of FD: "
        "one-way random effects of the trainings."
    )
    return [Table("noise", table, _readable(evidence, table), note)]


draw, table_text = drawn(tables)


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "contender": [evidence.compared.contender(name).label for name in table.model],
            "trainings": table.trainings,
            "sampling seeds of each": table.seeds,
            "FD": number(table.fd, ".3f"),
            "between trainings": [percent(spread) for spread in table.training],
            "between samples": [percent(spread) for spread in table.sampling],
        }
    )
