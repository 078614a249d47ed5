"""Figure 5: samples with few to many iterations per timestep at equal compute (Sec. 5.1)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.spec.cells import Cell
from models.families import family_of
from paper_figures import style
from paper_figures.evidence.gather import Evidence
from paper_figures.figures.contact_sheet import beside_in, caption, labels_of, show

GRID = "smoothing"
TITLE = "Figure 5: samples by iterations"

Strip = tuple[Cell, np.ndarray]  # images (count, channels, height, width)


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig5_strips.{png,pdf}: a column a schedule, a row a sample.

    Each contender that iterates has a panel, whose first columns are the contenders that do not.
    """
    found = strips(evidence)
    if not found:
        return []
    first = [strip for strip in found if not _iterates(strip)]
    iterating = style.contenders(evidence, (cell.model for cell, _ in found[len(first) :]))
    groups = [first + [strip for strip in found if strip[0].model == one.name] for one in iterating] or [first]
    count, columns = min(len(images) for _, images in found), max(map(len, groups))
    width = style.PAGE_WIDTH_IN * min(max(columns, 6) / 14, 1)
    size = (width, len(groups) * (width - beside_in(found[0][0])) * count / columns + 0.5)
    figure, axes = plt.subplots(len(groups), 1, figsize=size, layout="constrained", squeeze=False)
    for axis, strips_shown in zip(axes[:, 0], groups, strict=True):
        _panel(axis, evidence, strips_shown, count)
    for axis, one in zip(axes[:, 0], iterating, strict=False) if len(groups) > 1 else ():
        axis.set_title(one.label, color=one.color, pad=20)
    same = "each row has the same starting noise and class"
    style.note(figure, f"{caption(evidence, found[0][0], count)}; {same}")
    return style.save(figure, evidence.path("figures", "fig5_strips"))


def strips(evidence: Evidence) -> list[Strip]:
    """Images of contenders that do not iterate, then of each other contender by iterations."""
    names = style.suite_of(evidence).names

    def place(strip: Strip) -> tuple[bool, int, int]:
        return _iterates(strip), names.index(strip[0].model), strip[0].iterations

    return sorted(evidence.images(guidance=1.0), key=place)


def _iterates(strip: Strip) -> bool:
    return family_of(strip[0].config).iterates


def _panel(axis: Axes, evidence: Evidence, found: list[Strip], count: int) -> None:
    """A column a strip, its schedule above it in its contender's color."""
    by_row = np.stack([images[:count] for _, images in found], axis=1)  # (sample, column, channels, height, width)
    labels = np.repeat(labels_of(found[0][0], count), len(found))
    show(axis, by_row.reshape(-1, *by_row.shape[2:]), len(found), labels.tolist())
    across = axis.get_images()[0].get_size()[1]
    for i, strip in enumerate(found):
        cell, contender = strip[0], style.suite_of(evidence).contender(strip[0].model)
        iterations = f"{cell.iterations} iter{'s' if cell.iterations > 1 else ''}."
        text = f"{iterations if _iterates(strip) else contender.label}\n{cell.steps} steps"
        place = (i + 0.5) / len(found) * across
        above = -0.1 * by_row.shape[-1]
        axis.text(place, above, text, ha="center", va="bottom", fontsize=style.NOTE_PT, color=contender.color)
