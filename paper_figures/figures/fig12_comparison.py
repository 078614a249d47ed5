"""Figure 12: more samples of all contenders side by side, without guidance (supplement B)."""

from pathlib import Path

from paper_figures.evidence.gather import Evidence
from paper_figures.figures.contact_sheet import side_by_side

GRID = "samples"
TITLE = "Figure 12: comparison with DiT"


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig12_comparison.{png,pdf}."""
    return side_by_side(evidence, "fig12_comparison", guidance=1.0, count=24, columns=6)
