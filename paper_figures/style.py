"""Looks that all figures share: seaborn's theme at the paper's widths, contenders' own colors, axes, legends, notes."""

import io
import logging
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bench.system.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.spec.contenders import Contender, Suite
    from models.diffusion.samplers import Sampler
    from paper_figures.evidence.gather import Evidence

mpl.use("Agg")
logging.getLogger("fontTools").setLevel(logging.ERROR)  # it finds fault with the dates in fonts

SERIES = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 1, 2, 4, 9, 3)]  # where lines are not contenders
MARKERS = ("s", "o", "^", "D", "v", "P")
INK, FAINT = "#444444", "#666666"
PAGE_WIDTH_IN, COLUMN_WIDTH_IN = 7.0, 3.4
NOTE_PT = 6
CROWDED = 1.3  # two ticks of a logarithmic axis whose ratio is smaller: the second is labelled a line lower
FINE, COARSE = (1, 1.5, 2, 3, 5, 7), (1, 2, 5)  # ticks of a decade
FAR_APART = 5  # values whose ratio is larger need a logarithmic axis

sns.set_theme(
    context="paper",
    style="ticks",
    palette=SERIES,
    font="DejaVu Sans",  # comes with matplotlib: figures are the same on every machine
    font_scale=0.83,  # 8 pt text and 7.3 pt tick labels
    rc={
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "savefig.dpi": 200,
    },
)


def suite_of(evidence: "Evidence") -> "Suite":
    """The suite whose records are drawn."""
    return evidence.compared


def look(one: "Contender | Sampler") -> dict[str, Any]:
    """Arguments of matplotlib's plot for a contender or a sampler."""
    return {"color": one.color, "marker": one.marker, "label": one.label}


def contenders(evidence: "Evidence", names: Iterable[str]) -> "list[Contender]":
    """The suite's contenders among these names, in its order."""
    present = {*names}
    return [one for one in suite_of(evidence).contenders if one.name in present]


def labels(evidence: "Evidence") -> dict[str, str]:
    """The contenders' labels by name."""
    return {one.name: one.label for one in suite_of(evidence).contenders}


def shade(color: str, lightness: float) -> str:
    """A color mixed with white (lightness above 0, at most 1) or with black (below 0, at least -1)."""
    target, share = float(lightness > 0), abs(lightness)
    red, green, blue = ((1 - share) * channel + share * target for channel in to_rgb(color))
    return to_hex((red, green, blue))


def part_colors(evidence: "Evidence") -> dict[str, str]:
    """Colors of a network's parts: the baseline's blocks in its color, the subject's parts in shades of its own."""
    suite = suite_of(evidence)
    shades = {"pre": -0.6, "implicit": 0.3, "post": 0.75}
    return {"explicit": suite.baseline.color} | {name: shade(suite.subject.color, by) for name, by in shades.items()}


def width_in(columns: int) -> float:
    """Width of a figure: a page's, or a column of text's for a single column of panels."""
    return PAGE_WIDTH_IN if columns > 1 else COLUMN_WIDTH_IN


def panels(rows: int, columns: int, height_in: float, **options: Any) -> "tuple[Figure, np.ndarray]":
    """A figure and its axes (rows, columns)."""
    import matplotlib.pyplot as plt

    size = (options.pop("width_in", width_in(columns)), height_in)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)


def facets(
    rows: "pd.DataFrame",
    x: str,
    column: str,
    looks: Mapping[str, Mapping[str, Any]],
    height_in: float = 2.6,
    apart: float = 1.0,
    plot: "Callable[..., None] | None" = None,
) -> sns.FacetGrid:
    """FD against x: a panel for each value of a column, a series for each look.

    Args:
        rows: columns fd, fd_half, `series` (the series' label), x and `column`.
        x, column: names of columns.
        looks: color, marker and, optionally, linestyle of each series, by label.
        height_in: of the figure.
        apart: factor between the x of neighboring series, so that bars do not cover each other.
        plot: draws one series: `curve` or what has its arguments.
    """
    import matplotlib.pyplot as plt

    shown = [label for label in looks if (rows.series == label).any()]
    offsets = {label: apart ** (i - (len(shown) - 1) / 2) for i, label in enumerate(shown)}
    count = rows[column].nunique()
    grid = sns.FacetGrid(
        rows.assign(x=rows[x] * rows.series.map(offsets)),
        col=column,
        hue="series",
        hue_order=shown,
        palette={label: looks[label]["color"] for label in shown},
        hue_kws={key: [looks[label].get(key, "-") for label in shown] for key in ("marker", "linestyle")},
        height=height_in,
        aspect=width_in(count) / count / height_in,
    )
    grid.map_dataframe(lambda data, **look: (plot or curve)(plt.gca(), data.x, data, **look))
    grid.figure.set_layout_engine("constrained")
    grid.set_axis_labels("", "")
    grid.set_titles("{col_name}")
    return grid


def curve(axis: "Axes", x: "pd.Series", rows: "pd.DataFrame", **look: Any) -> None:
    """FD (columns fd, fd_half) against x with its intervals; where it diverged, a gap and a cross at the top."""
    fd = rows.fd.where(np.isfinite(rows.fd))
    bars = None if rows.fd_half.isna().all() else rows.fd_half.to_numpy()
    if fd.notna().any():
        axis.errorbar(x, fd, yerr=bars, capsize=1.5, elinewidth=0.8, **look)
    if (lost := np.isinf(rows.fd)).any():
        top = axis.get_xaxis_transform()
        axis.plot(x[lost], np.ones(lost.sum()), "x", color=look["color"], transform=top, clip_on=False)


def crosses(rows: "pd.DataFrame") -> str:
    """What the crosses of `curve` mean, as the end of a note; empty where there are none."""
    return " Cross: diverged." if np.isinf(rows.fd.to_numpy(float)).any() else ""


def log_y(axis: "Axes", ticks: Sequence[float]) -> None:
    """A logarithmic y axis with plain numbers at these multiples of powers of ten."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=ticks))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())


def log_x(axis: "Axes", ticks: Sequence[float], margin: float = 0.0) -> None:
    """A logarithmic x axis with these ticks only; a margin is a factor beyond the first and the last."""
    axis.set_xscale("log")
    axis.set_xticks(list(ticks), [f"{tick:.6g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    if margin:
        axis.set_xlim(min(ticks) / margin, max(ticks) * margin)


def iteration_axes(axis: "Axes", iterations: "Iterable[int]") -> None:
    """Distance against iterations per timestep, both logarithmic, with a tick at each of these numbers."""
    ticks, above, texts = sorted({*iterations}), 0.0, []
    for tick in ticks:
        crowded = tick < CROWDED * above
        texts.append(f"\n{tick}" if crowded else str(tick))
        above = above if crowded else tick
    log_x(axis, ticks)
    axis.set_xticks(ticks, texts)
    log_y(axis, FINE)
    axis.set_xlabel("fixed-point iterations per timestep")


def few_ticks(axis: "Axes", ticks: Sequence[float], values: np.ndarray) -> None:
    """A logarithmic x axis with these ticks only; a y axis that is logarithmic if the values are far apart."""
    log_x(axis, ticks, margin=1.25)
    finite = values[np.isfinite(values)]
    if len(finite) and finite.max() > FAR_APART * finite.min():
        log_y(axis, COARSE)
    else:
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.yaxis.set_major_formatter("{x:g}")


def fd_label(evidence: "Evidence") -> str:
    """Label of an axis of Fréchet distances."""
    return f"Fréchet distance ({evidence.extractor})"


def shared_legend(figure: "Figure", axes: "Iterable[Axes]", columns: int = 4, title: str | None = None) -> None:
    """One legend above all panels, in at most so many columns, and no more than fit the figure's width."""
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    places = range(min(len(handles), columns), 1, -1)
    fitting = (n for n in places if _legend_width_in([*handles], n) <= figure.get_figwidth())
    figure.legend(handles.values(), handles.keys(), title=title, loc="outside upper center", ncols=next(fitting, 1))


def _legend_width_in(labels: Sequence[str], columns: int) -> float:
    """About how wide a legend is; it is filled column by column."""
    parts = np.array_split(np.array([len(label) + 6 for label in labels]), columns)
    return float(0.06 * sum(part.max() for part in parts))  # inches a character


def note(figure: "Figure", text: str) -> None:
    """The protocol in small print below the panels, wrapped to the figure's width."""
    width = int(figure.get_figwidth() * 23)
    figure.supxlabel("\n".join(textwrap.wrap(text, width)), fontsize=NOTE_PT, color=INK)


def save(figure: "Figure", path: Path) -> list[Path]:
    """Write `path` (without suffix) as PNG and PDF, without the date: the same records give the same files.

    The PNG file has the note below the panels as its description, for who reads it as text.
    """
    import matplotlib.pyplot as plt

    described = " ".join(figure.get_supxlabel().split()) or None
    written = []
    for suffix, metadata in (
        (".png", {"Software": None, "Description": described}),
        (".pdf", {"CreationDate": None}),
    ):
        written.append(path.with_suffix(suffix))
        drawn = io.BytesIO()  # on a full disk, matplotlib's PDF files fail with an AttributeError
        figure.savefig(drawn, format=suffix[1:], metadata=metadata, bbox_inches="tight")
        write_bytes(written[-1], drawn.getvalue())
    plt.close(figure)
    return written
