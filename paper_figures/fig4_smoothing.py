"""Figure 4: quality against iterations per timestep at equal sampling compute, with its numbers as tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from paper_figures import style
from paper_figures.gather import Evidence, over_seeds
from paper_figures.published import TABLE1_FID

GRID = "smoothing"
TITLE = "Figure 4: timestep smoothing"


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig4_smoothing.{png,pdf} and tables/smoothing{,_best}.{md,csv}."""
    frame = evidence.frame
    return [*_figure(evidence, frame), *_tables(evidence, frame)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return _readable(summary(evidence.frame)).to_markdown(index=False, disable_numparse=True, stralign="right")


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """At each budget: DiT, the best FPDM schedule, their ratio; the published values beside them."""
    means = over_seeds(frame)
    rows = []
    for budget in sorted(set(means.budget)):
        dit, fpdm = (means[(means.budget == budget) & (means.model == model)] for model in ("dit", "fpdm"))
        best = fpdm.sort_values("fd").iloc[0] if len(fpdm) else None
        baseline = dit.iloc[0] if len(dit) else None
        dit_fd = np.nan if baseline is None else baseline.fd
        published = {model: TABLE1_FID.get((budget, model), {}).get("ddpm", np.nan) for model in ("dit", "fpdm")}
        rows.append(
            {
                "budget": budget,
                "dit_fd": dit_fd,
                "fpdm_fd": np.nan if best is None else best.fd,
                "iterations": pd.NA if best is None else best.iterations,
                "steps": pd.NA if best is None else best.steps,
                "ratio": np.nan if best is None else best.fd / dit_fd,
                "verdict": _verdict(baseline, best),
                "published_dit_fid": published["dit"],
                "published_fpdm_fid": published["fpdm"],
                "published_ratio": published["fpdm"] / published["dit"],
            }
        )
    return pd.DataFrame(rows)


def _verdict(dit: pd.Series | None, fpdm: pd.Series | None) -> str:
    """Which is better, as far as the ranges over sampling seeds tell."""
    if dit is None or fpdm is None:
        return "incomplete"
    if min(dit.seeds, fpdm.seeds) < 2:
        return "one seed, noise unknown"
    if fpdm.fd_high < dit.fd_low:
        return "FPDM better"
    return "DiT better" if dit.fd_high < fpdm.fd_low else "inconclusive"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The summary with headings and rounding for people."""
    return pd.DataFrame(
        {
            "block passes": table.budget,
            "DiT FD": table.dit_fd.map("{:.3f}".format),
            "best FPDM FD": table.fpdm_fd.map("{:.3f}".format),
            "at iterations x steps": [f"{k} x {s}" for k, s in zip(table.iterations, table.steps, strict=True)],
            "FPDM / DiT": table.ratio.map("{:.2f}".format),
            "verdict": table.verdict,
            "published DiT FID": table.published_dit_fid,
            "published FPDM FID": table.published_fpdm_fid,
            "published FPDM / DiT": table.published_ratio.map("{:.2f}".format),
        }
    )


def _tables(evidence: Evidence, frame: pd.DataFrame) -> list[Path]:
    rows, best = over_seeds(frame), summary(frame)
    note = (
        f"\n{evidence.caption}. FD: Frechet distance, lower is better. The best FPDM schedule is chosen on the samples "
        f"that it is scored on. Published: ImageNet, FID-50K, DDPM (Table 1). {evidence.timing_caption}\n"
    )
    readable = pd.DataFrame(
        {
            "block passes": rows.budget,
            "model": rows.model.map(style.LABELS),
            "iterations": rows.iterations,
            "steps": rows.steps,
            "spent": rows.block_passes,
            "MMACs / image": (rows.macs / 1e6).map("{:.0f}".format),
            "FD": rows.fd.map("{:.3f}".format),
            "KID": rows.kid.map("{:.3f}".format),
            "images / s": rows.images_per_s.map("{:.1f}".format),
            "latency of one image (ms)": (rows.latency_s * 1000).map("{:.0f}".format),
        }
    )
    written = []
    for name, machine, text in (
        ("smoothing", rows, readable.to_markdown(index=False, disable_numparse=True, stralign="right")),
        ("smoothing_best", best, _readable(best).to_markdown(index=False, disable_numparse=True, stralign="right")),
    ):
        written += [evidence.path("tables", f"{name}.csv"), evidence.path("tables", f"{name}.md")]
        machine.to_csv(written[-2], index=False, float_format="%.6g", lineterminator="\n")
        written[-1].write_text(text + "\n" + note)
    return written


def _figure(evidence: Evidence, frame: pd.DataFrame) -> list[Path]:
    rows = over_seeds(frame)
    budgets = sorted({cell.budget for cell in evidence.cells})
    figure, axes = style.panels(len(budgets))
    for axis, budget in zip(axes, budgets, strict=True):
        _panel(axis, rows[rows.budget == budget], budget)
    axes[0].set_ylabel(f"Fréchet distance ({evidence.cells[0].protocol.extractor})")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
    note = "published: best FID on ImageNet at 256 pixels (Table 1, DDPM), on a scale of its own"
    figure.supxlabel(f"{evidence.caption}\n{note}", fontsize=6.5, color="#444444")
    return style.save(figure, evidence.path("figures", "fig4_smoothing"))


def _panel(axis: Axes, rows: pd.DataFrame, budget: int) -> None:
    fpdm, dit = rows[rows.model == "fpdm"], rows[rows.model == "dit"]
    color = style.COLORS["fpdm"]
    axis.plot(fpdm.iterations, fpdm.fd, marker="s", color=color, label="FPDM")
    if (fpdm.seeds > 1).any():
        axis.fill_between(fpdm.iterations, fpdm.fd_low, fpdm.fd_high, color=color, alpha=0.2, linewidth=0)
    if len(dit):
        color = style.COLORS["dit"]
        axis.axhline(dit.fd.iloc[0], linestyle="--", color=color, linewidth=1)
        depth = int((dit.n_pre + dit.iterations + dit.n_post).iloc[0])
        axis.plot(dit.iterations, dit.fd, "o", markersize=7, color=color, label=f"DiT ({depth} blocks)")
        if dit.seeds.iloc[0] > 1:
            axis.axhspan(dit.fd_low.iloc[0], dit.fd_high.iloc[0], color=color, alpha=0.15, linewidth=0)
    style.iteration_axes(axis)
    title = f"{budget} block passes"
    published = {model: TABLE1_FID.get((budget, model)) for model in ("dit", "fpdm")}
    if published["dit"] and published["fpdm"]:
        title += f"\npublished: DiT {published['dit']['ddpm']}, best FPDM {published['fpdm']['ddpm']}"
    axis.set_title(title, fontsize=7.5)
