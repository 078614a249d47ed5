"""Figure 1: samples with classifier-free guidance 4.0, same labels and noise for all contenders (Sec. 4.3)."""

from pathlib import Path

from bench.spec.grids.paper import GUIDANCE
from paper_figures import style
from paper_figures.evidence.gather import Evidence
from paper_figures.figures.contact_sheet import side_by_side

GRID = "samples"
TITLE = "Figure 1: samples of both"


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig1_samples.{png,pdf}; a suite without labels has no guidance."""
    guidance = GUIDANCE if style.suite_of(evidence).baseline.config.num_classes else 1.0
    return side_by_side(evidence, "fig1_samples", guidance, count=20, columns=5)
