"""Looks that all figures share: legible at column width, in colours that colour-blind readers can tell apart."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

mpl.use("Agg")

# Okabe & Ito's palette
COLORS = {"dit": "#D55E00", "fpdm": "#0072B2", "published": "#666666"}
LABELS = {"dit": "DiT", "fpdm": "FPDM"}
PAGE_WIDTH_IN, COLUMN_WIDTH_IN = 7.0, 3.4

mpl.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8.5,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.5,
        "lines.markersize": 4,
        "legend.frameon": False,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,
    }
)


def save(figure: "Figure", path: Path) -> list[Path]:
    """Write `path` (without suffix) as PNG and PDF, without the date: the same records give the same files."""
    import matplotlib.pyplot as plt

    written = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        written.append(path.with_suffix(suffix))
        figure.savefig(written[-1], metadata=metadata, bbox_inches="tight")
    plt.close(figure)
    return written
