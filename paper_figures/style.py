"""Looks that all figures share: legible at column width, in colours that colour-blind readers can tell apart."""

import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

mpl.use("Agg")
logging.getLogger("fontTools").setLevel(logging.ERROR)  # it finds fault with the dates in fonts

# Okabe & Ito's palette
COLORS = {"dit": "#D55E00", "fpdm": "#0072B2", "fpdm cold": "#56B4E9"}
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # where lines are not the twins
MARKERS = ("s", "o", "^", "D", "v", "P")
LABELS = {"dit": "DiT", "fpdm": "FPDM"}
# parts of the networks: DiT's blocks; FPDM's in shades of its blue
PARTS = {"explicit": "#D55E00", "pre": "#002E47", "implicit": "#4D9CC9", "post": "#BFDCEC"}
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


ITERATION_TICKS = (1, 2, 3, 5, 8, 12, 18, 26, 38, 68)


def panels(count: int, height_in: float = 2.6) -> tuple["Figure", list["Axes"]]:
    """Small multiples in a row, sharing the y axis: page wide, or column wide for one."""
    import matplotlib.pyplot as plt

    width = PAGE_WIDTH_IN if count > 1 else COLUMN_WIDTH_IN
    figure, axes = plt.subplots(1, count, figsize=(width, height_in), sharey=True, layout="constrained", squeeze=False)
    return figure, list(axes[0])


def iteration_axes(axis: "Axes") -> None:
    """Distance against iterations per timestep, both logarithmic, with the ticks of the paper's Figure 4."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(ITERATION_TICKS, [str(tick) for tick in ITERATION_TICKS])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("fixed-point iterations per timestep")


def curve(axis: "Axes", x: "pd.Series", rows: "pd.DataFrame", **look: object) -> None:
    """FD of `rows` (of `gather.over_seeds`) against x, with bars where there is an interval."""
    finite = np.isfinite(rows.fd.to_numpy())  # a diverged cell has no place on the axis
    x, rows = x[finite], rows[finite]
    bars = None if rows.fd_half.isna().all() else rows.fd_half.to_numpy()
    axis.errorbar(x, rows.fd, yerr=bars, capsize=1.5, elinewidth=0.8, **look)  # type: ignore[arg-type]


def shared_legend(figure: "Figure", axes: "list[Axes]", columns: int = 4) -> None:
    """One legend above all panels."""
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(len(handles), columns))


def note(figure: "Figure", text: str) -> None:
    """The protocol in small print below the panels, wrapped to the figure's width."""
    width = int(figure.get_figwidth() * 23)
    figure.supxlabel("\n".join(textwrap.wrap(text, width)), fontsize=6, color="#444444")


def save(figure: "Figure", path: Path) -> list[Path]:
    """Write `path` (without suffix) as PNG and PDF, without the date: the same records give the same files."""
    import matplotlib.pyplot as plt

    written = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        written.append(path.with_suffix(suffix))
        figure.savefig(written[-1], metadata=metadata, bbox_inches="tight")
    plt.close(figure)
    return written
