"""Figure 5: what sampling with few to many iterations per timestep looks like at equal compute (Sec. 5.1)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from bench.spec.cells import Cell
from paper_figures import style
from paper_figures.evidence.gather import Evidence
from paper_figures.figures.contact_sheet import caption, show

GRID = "smoothing"
TITLE = "Figure 5: samples by iterations"


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig5_strips.{png,pdf}: a column for DiT and one for each number of iterations, a row a sample."""
    found = strips(evidence)
    if not found:
        return []
    count, size = min(len(images) for _, images in found), found[0][1].shape[-1]
    by_row = np.stack([images[:count] for _, images in found], axis=1)  # (sample, column, channels, height, width)
    width = style.PAGE_WIDTH_IN * max(len(found), 6) / 14
    figure, axis = plt.subplots(figsize=(width, width * count / len(found) + 0.5), layout="constrained")
    show(axis, by_row.reshape(-1, *by_row.shape[2:]), len(found))
    across = axis.get_images()[0].get_size()[1]
    for i, (cell, _) in enumerate(found):
        model = cell.run.model
        text = f"{_iterations(cell)}\n{cell.steps} steps"
        place = (i + 0.5) / len(found) * across
        axis.text(place, -0.1 * size, text, ha="center", va="bottom", fontsize=6, color=style.COLORS[model])
    same = "each row has the same starting noise and label"
    style.note(figure, f"{caption(evidence, found[0][0], count)}; {same}")
    return style.save(figure, evidence.path("figures", "fig5_strips"))


def strips(evidence: Evidence) -> list[tuple[Cell, np.ndarray]]:
    """DiT's images, then FPDM's by iterations."""
    found = evidence.images(guidance=1.0)
    return sorted(found, key=lambda pair: (pair[0].run.config.implicit, pair[0].iterations))


def _iterations(cell: Cell) -> str:
    if not cell.run.config.implicit:
        return "DiT"
    return f"{cell.iterations} iter{'s' if cell.iterations > 1 else ''}."
