"""Figure 4: quality against iterations per timestep at equal sampling compute, with its numbers as tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.spec.contenders import Contender
from paper_figures import style
from paper_figures.evidence.columns import number, over_seeds, quality_columns
from paper_figures.evidence.comparisons import ONE_SAMPLER, published_twins, readable_twins, twins
from paper_figures.evidence.gather import Evidence
from paper_figures.tables.writing import printed, write_table

GRID = "smoothing"
TITLE = "Figure 4: timestep smoothing"
LEAST_SHARE = 1 / 2  # of the y axis, that the curves keep where the floor is drawn


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig4_smoothing.{png,pdf} and tables/smoothing{,_best}.{md,csv,tex}."""
    if evidence.frame.empty:
        return []
    return [*_figure(evidence), *_tables(evidence)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(evidence, twins(evidence)))


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """The summary with headings and rounding for people."""
    names = {"iterations x steps": "best at iterations x steps", "best FPDM / DiT": "FPDM / DiT"}
    names |= {"verdict": "verdict with DDPM"}
    published = published_twins(evidence, table) | {"published FPDM / DiT": number(table.published_ratio, ".2f")}
    return readable_twins(evidence, table).drop(columns="sampler").rename(columns=names).assign(**published)


def _tables(evidence: Evidence) -> list[Path]:
    rows, shortest = over_seeds(evidence.frame), twins(evidence)
    fd = "FD: Fréchet distance, lower is better."
    shares = f"{evidence.shares_note} " if evidence.shares_note else ""
    note = f"{evidence.choice} Published: ImageNet, FID-50K, DDPM (Table 1). {evidence.timing_caption}"
    note += f" {evidence.peak_memory}" if evidence.peak_memory else ""
    readable = pd.DataFrame(
        {
            "block passes": rows.budget,
            "model": rows.model.map(style.labels(evidence)),
            "iterations": rows.iterations,
            "steps": rows.steps,
            "spent": rows.block_passes,
            "MMACs / image": (rows.macs / 1e6).map("{:.0f}".format),
            **quality_columns(rows),
            "images / s": rows.images_per_s.map("{:.1f}".format),
            "latency of one image (ms)": (rows.latency_s * 1000).map("{:.0f}".format),
        }
    )
    return [
        *write_table(evidence, "smoothing", rows, readable, f"{fd} {shares}{note}"),
        *write_table(
            evidence, "smoothing_best", shortest, _readable(evidence, shortest), f"{fd} {shares}{ONE_SAMPLER} {note}"
        ),
    ]


def _figure(evidence: Evidence) -> list[Path]:
    rows = over_seeds(evidence.frame)
    if not np.isfinite(rows.fd).any():
        return []
    shown = style.contenders(evidence, rows.model)
    names = {one.name: one.label if one.family.iterates else f"{one.label} ({_shape(one)})" for one in shown}
    iterates = rows.model.map({one.name: one.family.iterates for one in shown})
    looks = {names[one.name]: style.look(one) for one in shown}
    rows = rows.assign(series=rows.model.map(names), iterates=iterates)
    grid = style.facets(rows, "iterations", "budget", looks, plot=_series)
    for budget, axis in grid.axes_dict.items():
        style.iteration_axes(axis, rows.iterations)
        axis.set_title(f"{budget} {evidence.unit}")
    axes = list(grid.axes.flat)
    fd = evidence.floor.get("fid", 0.0) if evidence.floor_images == evidence.quality[0].protocol.samples else 0.0
    if fd and _leaves_room(fd, rows.fd.to_numpy(float)):
        for axis in axes:  # nobody is expected to beat it
            axis.axhline(fd, linestyle=":", color=style.FAINT, linewidth=0.9, label="real images (test split)")
    axes[0].set_ylabel(style.fd_label(evidence))
    style.shared_legend(grid.figure, axes)
    style.note(grid.figure, f"{evidence.caption}{'.' * bool(lost := style.crosses(rows))}{lost}")
    return style.save(grid.figure, evidence.path("figures", "fig4_smoothing"))


def _shape(contender: Contender) -> str:
    return contender.family.shape(contender.config)


def _leaves_room(floor: float, values: np.ndarray) -> bool:
    """Whether curves of these values stay legible on a logarithmic axis that reaches down to the floor."""
    finite = values[np.isfinite(values)]
    low, high = min(finite.min(), floor), max(finite.max(), floor)
    return bool(np.log(finite.max() / finite.min()) >= LEAST_SHARE * np.log(high / low))


def _series(axis: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    """A contender that iterates as a curve; another as a marker, its value and interval across the panel."""
    one = rows.iloc[0]
    if one.iterates or not np.isfinite(one.fd):
        return style.curve(axis, x, rows, **look)
    name = look["label"].partition(" (")[0]
    axis.plot(x, rows.fd, **look | {"linestyle": "none", "markersize": 8, "zorder": 5, "markeredgecolor": "white"})
    axis.axhline(one.fd, linestyle="--", color=look["color"], linewidth=1, label=f"{name}'s FD, at every k")
    if one.seeds > 1:
        band = {"color": look["color"], "alpha": 0.15, "linewidth": 0, "label": f"{name}'s 95% interval"}
        axis.axhspan(one.fd_low, one.fd_high, **band)
