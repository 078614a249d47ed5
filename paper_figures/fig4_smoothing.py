"""Figure 4: quality against iterations per timestep at equal sampling compute, with its numbers as tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from paper_figures import style
from paper_figures.gather import Evidence, over_seeds, plus_minus, texts
from paper_figures.intervals import Verdict, below, best, by_seed, half_width, ratio
from paper_figures.published import TABLE1_FID
from paper_figures.tables import markdown, write_table

GRID = "smoothing"
TITLE = "Figure 4: timestep smoothing"


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig4_smoothing.{png,pdf} and tables/smoothing{,_best}.{md,csv,tex}."""
    return [*_figure(evidence), *_tables(evidence)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return markdown(_readable(summary(evidence.frame)))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """At each budget: DiT, the best FPDM schedule, their ratio; the published values beside them."""
    rows = []
    for budget, cells in frame.groupby("budget"):
        dit, fpdm = (cells[cells.model == model] for model in ("dit", "fpdm"))
        line: dict[str, object] = {"budget": budget}
        for model, values in (("dit", by_seed(dit)), ("fpdm", best(fpdm) if len(fpdm) else by_seed(fpdm))):
            line |= {f"{model}_fd": values.mean(), f"{model}_half": half_width(values.to_numpy())}
        if len(fpdm):
            k = fpdm.groupby("iterations").fid.mean().idxmin()
            line |= {"iterations": k, "steps": int(fpdm[fpdm.iterations == k].steps.iloc[0])}
        if len(fpdm) and len(dit):
            found = ratio(best(fpdm), by_seed(dit))
            line |= {"ratio": found.estimate, "ratio_text": str(found), "verdict": verdict(dit, fpdm)}
        published = {m: TABLE1_FID.get((int(str(budget)), m), {}).get("ddpm", np.nan) for m in ("dit", "fpdm")}
        line |= {"published_dit_fid": published["dit"], "published_fpdm_fid": published["fpdm"]}
        rows.append(line | {"published_ratio": published["fpdm"] / published["dit"]})
    return pd.DataFrame(rows)


def verdict(dit: pd.DataFrame, fpdm: pd.DataFrame) -> str:
    """Which is better, as far as the interval of the ratio tells."""
    if min(dit.seed.nunique(), fpdm.seed.nunique()) < 2:
        return "one replicate, noise unknown"
    answer = below(ratio(best(fpdm), by_seed(dit)))
    return {Verdict.CONFIRMED: "FPDM better", Verdict.CONTRADICTED: "DiT better"}.get(answer, "inconclusive")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The summary with headings and rounding for people."""
    table = table.reindex(columns=[*table.columns, *({"ratio_text", "verdict", "iterations"} - set(table.columns))])
    return pd.DataFrame(
        {
            "block passes": table.budget,
            "DiT FD": plus_minus(table.dit_fd, table.dit_half),
            "best FPDM FD": plus_minus(table.fpdm_fd, table.fpdm_half),
            "best at iterations x steps": [f"{k} x {s}" for k, s in zip(table.iterations, table.steps, strict=True)]
            if "steps" in table
            else "",
            "FPDM / DiT": texts(table.ratio_text),
            "verdict": texts(table.verdict, "incomplete"),
            "published DiT FID": table.published_dit_fid,
            "published FPDM FID": table.published_fpdm_fid,
            "published FPDM / DiT": table.published_ratio.map("{:.2f}".format),
        }
    )


def _tables(evidence: Evidence) -> list[Path]:
    rows, shortest = over_seeds(evidence.frame), summary(evidence.frame)
    note = (
        f"FD: Fréchet distance, lower is better. {evidence.choice} "
        f"Published: ImageNet, FID-50K, DDPM (Table 1). {evidence.timing_caption}"
    )
    readable = pd.DataFrame(
        {
            "block passes": rows.budget,
            "model": rows.model.map(style.LABELS),
            "iterations": rows.iterations,
            "steps": rows.steps,
            "spent": rows.block_passes,
            "MMACs / image": (rows.macs / 1e6).map("{:.0f}".format),
            "FD": plus_minus(rows.fd, rows.fd_half),
            "KID": rows.kid.map("{:.3f}".format),
            "images / s": rows.images_per_s.map("{:.1f}".format),
            "latency of one image (ms)": (rows.latency_s * 1000).map("{:.0f}".format),
        }
    )
    return [
        *write_table(evidence, "smoothing", rows, readable, note),
        *write_table(evidence, "smoothing_best", shortest, _readable(shortest), note),
    ]


def _figure(evidence: Evidence) -> list[Path]:
    rows = over_seeds(evidence.frame)
    budgets = sorted(set(rows.budget))
    figure, axes = style.panels(len(budgets))
    for axis, budget in zip(axes, budgets, strict=True):
        _panel(axis, rows[rows.budget == budget], budget)
    axes[0].set_ylabel(f"Fréchet distance ({evidence.extractor})")
    style.shared_legend(figure, axes)
    note = "published: best FID on ImageNet at 256 pixels (Table 1, DDPM), on a scale of its own"
    style.note(figure, f"{evidence.caption}. {note}")
    return style.save(figure, evidence.path("figures", "fig4_smoothing"))


def _panel(axis: Axes, rows: pd.DataFrame, budget: int) -> None:
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
    title = f"{budget} block passes"
    published = {model: TABLE1_FID.get((budget, model)) for model in ("dit", "fpdm")}
    if published["dit"] and published["fpdm"]:
        title += f"\npublished: DiT {published['dit']['ddpm']}, best FPDM {published['fpdm']['ddpm']}"
    axis.set_title(title, fontsize=7.5)
