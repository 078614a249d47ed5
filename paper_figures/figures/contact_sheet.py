"""Many small images as one picture: what Figures 1, 5 and 8 to 12 share."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.spec.cells import Cell
from models.families import family_of
from paper_figures import style
from paper_figures.evidence.gather import Evidence

LEAST_PX = 96  # smaller images are enlarged, each pixel to a square, so that no viewer blurs them
LINE = (143, 176, 214)  # a blue that no grey image has


def contact_sheet(images: np.ndarray, columns: int, separator: int = 1) -> np.ndarray:
    """Images side by side, row by row, lines between them.

    Args:
        images: uint8 (count, channels, height, width); channels 1 or 3.
        columns: images in a row; places left over in the last row are filled like the lines.
        separator: width of the lines in pixels.

    Returns:
        uint8 (height, width, 3).
    """
    count, _, height, width = images.shape
    rows = math.ceil(count / columns)
    down, across = height + separator, width + separator
    sheet = np.full((rows * down - separator, columns * across - separator, 3), LINE, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * down, i % columns * across
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet


def enlarge(images: np.ndarray) -> np.ndarray:
    """Images (count, channels, height, width) of LEAST_PX or more a side: pixels become squares of whole pixels."""
    factor = max(1, math.ceil(LEAST_PX / images.shape[-1]))
    return images.repeat(factor, axis=-2).repeat(factor, axis=-1)


def show(axis: Axes, images: np.ndarray, columns: int) -> None:
    """Fill an axis with the contact sheet of the images."""
    large = enlarge(images)
    axis.imshow(contact_sheet(large, columns, separator=large.shape[-1] // 32))
    axis.set_axis_off()


def schedule(evidence: Evidence, cell: Cell) -> str:
    """How a cell spends its passes: `DiT, 20 steps of 28 blocks`, `FPDM, 56 steps of 8 iterations`."""
    family, label = family_of(cell.config), style.labels(evidence)[cell.model]
    step = f"{cell.iterations} iterations" if family.iterates else family.shape(cell.config)
    return f"{label}, {cell.steps} steps of {step}"


def caption(evidence: Evidence, cell: Cell, count: int) -> str:
    """The protocol of samples to look at in one line."""
    protocol, classes = cell.protocol, cell.config.num_classes
    guided = protocol.guidance_scale != 1
    guidance = f"guidance {protocol.guidance_scale:g}, which doubles them" if guided else "no guidance"
    labels = f"image i has label i mod {classes}" if classes else "no labels"
    return (
        f"{evidence.suite}: the first {count} samples of seed {cell.seed}, not selected; {labels}; "
        f"{cell.sampler.upper()}, {cell.budget} {evidence.unit} an image, {guidance}, "
        f"EMA weights, {cell.run.budget_text} of training{evidence.account_note}"
    )


def side_by_side(evidence: Evidence, name: str, guidance: float, count: int, columns: int) -> list[Path]:
    """Write figures/<name>: the first `count` samples of each contender, side by side; nothing without samples."""
    everyone = style.suite_of(evidence).names
    shown = [found for model in everyone for found in evidence.images(model=model, guidance=guidance)[:1]]
    if not shown:
        return []
    width = style.PAGE_WIDTH_IN / max(2, len(shown))
    size = (width * len(shown), width * math.ceil(count / columns) / columns + 0.5)
    figure, axes = plt.subplots(1, len(shown), figsize=size, layout="constrained", squeeze=False)
    for axis, (cell, images) in zip(axes[0], shown, strict=True):
        show(axis, images[:count], columns)
        axis.set_title(schedule(evidence, cell))
    text = caption(evidence, shown[0][0], count)
    where = "on both sides" if len(shown) == 2 else "everywhere"
    style.note(figure, f"{text} each; the same starting noise {where}" if len(shown) > 1 else text)
    return style.save(figure, evidence.path("figures", name))
