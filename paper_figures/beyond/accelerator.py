"""Speed of the paper's networks on a GPU, at batch 64 in three dtypes: what `throughput` draws."""

from pathlib import Path

from paper_figures.beyond import throughput
from paper_figures.beyond.throughput import table_text
from paper_figures.evidence.gather import Evidence

__all__ = ["GRID", "TITLE", "draw", "table_text"]

GRID = "accelerator"
TITLE = "Speed on a GPU"


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/{speed,throughput}_accelerator.{csv,md,tex} and figures/throughput_accelerator.{png,pdf}."""
    return throughput.draw(evidence, "_accelerator")
