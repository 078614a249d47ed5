"""Figures 8 to 11: uncurated samples of FPDM without guidance, a figure a dataset (supplement B)."""

from pathlib import Path

import matplotlib.pyplot as plt

from bench.spec.contenders import Contender
from paper_figures import style
from paper_figures.evidence.gather import Evidence
from paper_figures.figures.contact_sheet import caption, columns_of, labels_of, schedule, show

GRID = "samples"
TITLE = "Figures 8-11: uncurated samples"
FIGURES = {
    "celebahq": ("fig8_celebahq", "Figure 8 (CelebA-HQ)"),
    "church": ("fig9_church", "Figure 9 (LSUN Church)"),
    "ffhq": ("fig10_ffhq", "Figure 10 (FFHQ)"),
    "imagenet": ("fig11_imagenet", "Figure 11 (ImageNet)"),
}
SMALL_PX, COLUMNS_SMALL, COLUMNS = 64, 12, 8  # the most in a row


def draw(evidence: Evidence) -> list[Path]:
    """Write the figure of the suite's dataset, or figures/fig8_11_<suite> for another dataset; name the others.

    Contenders beside the paper's two have a figure of their own with their name at the end.
    """
    suite = style.suite_of(evidence)
    for other, (_, figure_name) in FIGURES.items():
        if other != suite.dataset:
            print(f"{figure_name} needs suite {other}")
    name, _ = FIGURES.get(suite.dataset, (f"fig8_11_{evidence.suite}", ""))
    others = [one for one in suite.contenders if one not in (suite.baseline, suite.subject)]
    written = _figure(evidence, suite.subject, name)
    return written + [path for one in others for path in _figure(evidence, one, f"{name}_{one.name}")]


def _figure(evidence: Evidence, contender: Contender, name: str) -> list[Path]:
    found = evidence.images(guidance=1.0, model=contender.name)
    if not found:
        return []
    cell, images = found[0]
    columns = columns_of(cell.config.num_classes, COLUMNS_SMALL if images.shape[-1] < SMALL_PX else COLUMNS)
    images = images[: len(images) // columns * columns or None]
    height = style.PAGE_WIDTH_IN * -(-len(images) // columns) / columns + 0.7
    figure, axis = plt.subplots(figsize=(style.PAGE_WIDTH_IN, height), layout="constrained")
    show(axis, images, columns, labels_of(cell, len(images)))
    axis.set_title(schedule(evidence, cell))
    style.note(figure, caption(evidence, cell, len(images)))
    return style.save(figure, evidence.path("figures", name))
