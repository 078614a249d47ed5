"""Speed of the paper's twins on a GPU, at batch 64 in three precisions: what `extra_throughput` draws."""

from pathlib import Path

from paper_figures.beyond import throughput as extra_throughput
from paper_figures.beyond.throughput import table_text
from paper_figures.evidence.gather import Evidence

__all__ = ["GRID", "TITLE", "draw", "table_text"]

GRID = "accelerator"
TITLE = "Speed on a GPU"


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/{speed,throughput}_accelerator.{csv,md,tex} and figures/throughput_accelerator.{png,pdf}."""
    return extra_throughput.draw(evidence, "_accelerator")
