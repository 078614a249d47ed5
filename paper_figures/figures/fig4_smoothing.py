"""Figure 4: quality against iterations per timestep at equal sampling compute, with its numbers as tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from paper_figures import style
from paper_figures.evidence.comparisons import number, published_twins, readable_twins, twins
from paper_figures.evidence.gather import Evidence, over_seeds, quality_columns
from paper_figures.published import TABLE1_FID
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
    return printed(evidence, _readable(twins(evidence)))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The summary with headings and rounding for people."""
    names = {"iterations x steps": "best at iterations x steps", "best FPDM / DiT": "FPDM / DiT"}
    published = published_twins(table) | {"published FPDM / DiT": number(table.published_ratio, ".2f")}
    return readable_twins(table).drop(columns="sampler").rename(columns=names).assign(**published)


def _tables(evidence: Evidence) -> list[Path]:
    rows, shortest = over_seeds(evidence.frame), twins(evidence)
    fd = "FD: Fréchet distance, lower is better."
    shares = f"{evidence.shares_note} " if evidence.shares_note else ""
    note = f"{evidence.choice} Published: ImageNet, FID-50K, DDPM (Table 1). {evidence.timing_caption}"
    note += f" {evidence.peak_memory}" if evidence.peak_memory else ""
    readable = pd.DataFrame(
        {
            "block passes": rows.budget,
            "model": rows.model.map(style.LABELS),
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
        *write_table(evidence, "smoothing_best", shortest, _readable(shortest), f"{fd} {note}"),
    ]


def _figure(evidence: Evidence) -> list[Path]:
    rows = over_seeds(evidence.frame)
    if not np.isfinite(rows.fd).any():
        return []
    budgets = sorted(set(rows.budget))
    figure, axes = style.panels(len(budgets))
    for axis, budget in zip(axes, budgets, strict=True):
        _panel(axis, rows[rows.budget == budget], budget, evidence.unit)
    if (fd := evidence.floor.get("fid", 0.0)) and _leaves_room(fd, rows.fd.to_numpy(float)):
        _floor(axes, fd)
    axes[0].set_ylabel(f"Fréchet distance ({evidence.extractor})")
    style.shared_legend(figure, axes)
    note = "published: best FID on ImageNet at 256 pixels (Table 1, DDPM), on a scale of its own"
    style.note(figure, f"{evidence.caption}. {note}")
    return style.save(figure, evidence.path("figures", "fig4_smoothing"))


def _leaves_room(floor: float, values: np.ndarray) -> bool:
    """Whether curves of these values stay legible on a logarithmic axis that reaches down to the floor."""
    finite = values[np.isfinite(values)]
    low, high = min(finite.min(), floor), max(finite.max(), floor)
    return bool(np.log(finite.max() / finite.min()) >= LEAST_SHARE * np.log(high / low))


def _floor(axes: list[Axes], fd: float) -> None:
    """What nobody is expected to beat: a thin line across all panels."""
    for axis in axes:
        axis.axhline(fd, linestyle=":", color="#666666", linewidth=0.9, label="real images (test split)")


def _panel(axis: Axes, rows: pd.DataFrame, budget: int, unit: str) -> None:
    fpdm, dit = rows[rows.model == "fpdm"], rows[rows.model == "dit"]
    style.curve(axis, fpdm.iterations, fpdm, color=style.COLORS["fpdm"], marker="s", label="FPDM")
    if len(dit):
        color = style.COLORS["dit"]
        axis.axhline(dit.fd.iloc[0], linestyle="--", color=color, linewidth=1)
        depth = int((dit.n_pre + dit.iterations + dit.n_post).iloc[0])
        axis.plot(dit.iterations, dit.fd, "o", markersize=7, color=color, label=f"DiT ({depth} blocks)")
        if dit.seeds.iloc[0] > 1:
            axis.axhspan(dit.fd_low.iloc[0], dit.fd_high.iloc[0], color=color, alpha=0.15, linewidth=0)
    style.iteration_axes(axis)
    title = f"{budget} {unit}"
    published = {model: TABLE1_FID.get((budget, model)) for model in ("dit", "fpdm")}
    if published["dit"] and published["fpdm"]:
        title += f"\npublished: DiT {published['dit']['ddpm']}, best FPDM {published['fpdm']['ddpm']}"
    axis.set_title(title, fontsize=7.5)
