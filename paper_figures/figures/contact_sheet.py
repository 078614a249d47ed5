"""Many small images as one picture: what Figures 1, 5 and 8 to 12 share."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.spec.cells import Cell
from models.diffusion.samplers import label_of
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


def columns_of(classes: int, most: int) -> int:
    """Images in a row, at most `most`, so that rows follow the classes: as many as divide their number."""
    found = next(columns for columns in range(most, 0, -1) if classes % columns == 0)
    return found if 2 * found >= most else most


def labels_of(cell: Cell, count: int) -> list[int]:
    """The classes of a cell's first samples; empty without classes."""
    return [i % cell.config.num_classes for i in range(count)] if cell.config.num_classes else []


def beside_in(cell: Cell) -> float:
    """Width of the classes beside the rows, in inches."""
    return 0.35 if cell.config.num_classes else 0.0


def show(axis: Axes, images: np.ndarray, columns: int, labels: Sequence[int] = ()) -> None:
    """Fill an axis with the contact sheet of the images; their classes above the columns, or else beside the rows."""
    large = enlarge(images)
    separator = large.shape[-1] // 32
    axis.imshow(contact_sheet(large, columns, separator), interpolation="nearest")  # any other blurs
    axis.set(frame_on=False, xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
    axis.xaxis.set_label_position("top")
    rows = [labels[start : start + columns] for start in range(0, len(labels), columns)]
    centers = (np.arange(max(columns, len(rows))) + 0.5) * (large.shape[-1] + separator) - separator / 2 - 0.5
    if len(rows) > 1 and all([*row] == [*rows[0]] for row in rows):
        axis.set_xticks(centers[:columns], [str(label) for label in rows[0]])
        axis.set_xlabel("class")
    elif rows:
        texts = [f"{row[0]}" if len(set(row)) == 1 else f"{row[0]}-{row[-1]}" for row in rows]
        axis.set_yticks(centers[: len(rows)], texts)
        axis.set_ylabel("class")


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
    labels = f"image i is of class i mod {classes}" if classes else "no classes"
    return (
        f"{evidence.suite}: the first {count} samples of seed {cell.seed}, not selected; {labels}; "
        f"{label_of(cell.sampler)}, {cell.budget} {evidence.unit} an image, {guidance}, "
        f"EMA weights, {cell.run.budget_text} of training{evidence.account_note}"
    )


def side_by_side(evidence: Evidence, name: str, guidance: float, count: int, columns: int) -> list[Path]:
    """Write figures/<name>: at most `count` first samples of each contender, side by side; nothing without samples.

    Rows have at most `columns` images and follow the classes (`columns_of`); no row is left unfinished.
    """
    everyone = style.suite_of(evidence).names
    shown = [found for model in everyone for found in evidence.images(model=model, guidance=guidance)[:1]]
    if not shown:
        return []
    columns = columns_of(shown[0][0].config.num_classes, columns)
    count -= count % columns
    width = style.PAGE_WIDTH_IN / max(2, len(shown))
    sheet = width - beside_in(shown[0][0])
    size = (width * len(shown), sheet * math.ceil(count / columns) / columns + 0.5)
    figure, axes = plt.subplots(1, len(shown), figsize=size, layout="constrained", squeeze=False)
    for axis, (cell, images) in zip(axes[0], shown, strict=True):
        show(axis, images[:count], columns, labels_of(cell, count))
        axis.set_title(schedule(evidence, cell))
    text = caption(evidence, shown[0][0], count)
    where = "on both sides" if len(shown) == 2 else "everywhere"
    style.note(figure, f"{text} each; the same starting noise {where}" if len(shown) > 1 else text)
    return style.save(figure, evidence.path("figures", name))
