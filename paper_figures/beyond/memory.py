"""Memory of training and sampling at XL/2, batch 64: what it consists of, by precision, checkpointing and m."""

import math
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.spec.measurements import Footprint
from paper_figures import style
from paper_figures.evidence.columns import number
from paper_figures.evidence.gather import Evidence
from paper_figures.published import TABLE1_TRAINING_MEMORY_GB
from paper_figures.tables.writing import printed, write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = "memory"
TITLE = "Memory of training and sampling"
GIB = 2**30
PARTS = {
    "parameters": "parameters_bytes",
    "EMA": "ema_bytes",
    "optimizer": "optimizer_bytes",
    "gradients": "peak_gradients_bytes",
    "activations": "activations_bytes",
}
COLORS = dict(zip(PARTS, (style.SERIES[i] for i in (2, 3, 1, 5, 4)), strict=True))
MODES = {False: "nothing recomputed", True: "blocks and iterations recomputed"}
_NOTE = (
    "XL/2 twins, batch 64. Peak bytes that the tensors of a training step, or of sampling with reuse, ask for, by what "
    "is alive at the peak: gradients that are there by then (once all are, they take as much as the parameters); under "
    "activations all the rest, low-precision copies of weights included. m: FPDM's iterations with gradient; mean over "
    "m: of stochastic JFB's draws, while a run has to hold the largest. Checkpointing recomputes each explicit block "
    "and each iteration in backward. bf16 takes what fp16 takes. Less than DiT: under the same settings. Published "
    "(Table 1): without precision, checkpointing, m, or whether a GB is of 10 to the 9 or 2 to the 30 bytes."
)

_MARKS = (
    "XL/2 twins, batch 64. In brackets: of DiT's peak under the same settings. m: FPDM's iterations with gradient; "
    "mean over m: of stochastic JFB's draws, 1 to 12. Gradients: those that are there at the peak; a bar "
    "without any peaks before backward makes the first. Published: as GiB, under settings that the paper does not give."
)


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/memory.{csv,md,tex} and figures/memory.{png,pdf}."""
    table = summary(evidence)
    if table.empty:
        return []
    note = f"{_NOTE} {checked(evidence, table)}"
    written = write_table(evidence, "memory", table, _readable(evidence, table), note, caption="")
    return [*written, *_figure(evidence, table)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    table = summary(evidence)
    return printed(evidence, _readable(evidence, table)) if len(table) else ""


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a footprint: what it is of, bytes by part and at the peak, what FPDM saves, and what a GPU measured."""
    rows: list[dict[str, Any]] = []
    for cell, record in evidence.records("footprint"):
        assert isinstance(cell, Footprint)
        columns = {"phase": cell.phase, "precision": cell.dtype, "grad_checkpointing": cell.grad_checkpointing}
        rows.append(columns | {name: getattr(cell, name) for name in ("model", "unroll", "n", "m")} | record.metrics)
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    if "measured_peak_bytes" not in table:
        table["measured_peak_bytes"] = float("nan")
    settings = ["phase", "precision", "grad_checkpointing"]
    baseline = table.model == style.suite_of(evidence).baseline_name
    table = table.join(table[baseline].set_index(settings).peak_bytes.rename("baseline_bytes"), on=settings)
    table["saved_percent"] = (100 * (1 - table.peak_bytes / table.baseline_bytes)).where(~baseline)
    table["computed_over_measured"] = table.peak_bytes / table.measured_peak_bytes
    order = table.phase.eq("sampling"), table.precision, table.grad_checkpointing
    places = pd.concat(order, axis=1).apply(tuple, axis=1)
    return table.iloc[places.argsort(kind="stable")].drop(columns="baseline_bytes").reset_index(drop=True)


def checked(evidence: Evidence, table: pd.DataFrame) -> str:
    """Whether a GPU has confirmed what is computed, as a sentence."""
    apart = (table.computed_over_measured.dropna() - 1).abs()
    if apart.empty:
        return "Computed, not checked against a GPU."
    found = evidence.records("footprint")
    devices = {record.environment["hardware"] for _, record in found if "measured_peak_bytes" in record.metrics}
    return (
        f"Computed; on {', '.join(sorted(devices))} {len(apart)} of {len(table)} were measured too "
        f"(torch.cuda.max_memory_allocated), at most {100 * apart.max():.1f}% apart."
    )


def _published(evidence: Evidence, table: pd.DataFrame) -> pd.Series:
    """The paper's GB beside the cells of Table 1: fp16, nothing recomputed, m = 12; NaN elsewhere."""
    suite = style.suite_of(evidence)
    families = {one.name: one.family for one in suite.contenders}
    iterates = table.model.map({name: family.iterates for name, family in families.items()})
    asked = (table.phase == "training") & (table.precision == "fp16") & ~table.grad_checkpointing
    asked &= (table.unroll == "multi-step") & ((table.m == 12) | ~iterates)
    known = {name: TABLE1_TRAINING_MEMORY_GB.get(family.name, math.nan) for name, family in families.items()}
    return table.model.map(known).where(asked & (suite.own is None))


def _names(evidence: Evidence, table: pd.DataFrame) -> list[str]:
    """Contender and, where it trains with iterations, its m: `FPDM, m = 3`, `FPDM, mean over m = 1 to 12`."""
    names = []
    for row in table.itertuples():
        contender = style.suite_of(evidence).contender(str(row.model))
        m = f"mean over m = 1 to {row.m}" if row.unroll == "stochastic" else f"m = {row.m}"
        training = contender.family.iterates and row.phase == "training"
        names.append(contender.label + (f", {m}" if training else ""))
    return names


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    modes = table.grad_checkpointing.map({False: "off", True: "on"}).where(table.phase == "training", "")
    columns: dict[str, Any] = {"phase": table.phase, "precision": table.precision, "checkpointing": modes}
    columns["model"] = _names(evidence, table)
    columns |= {f"{part} (GiB)": number(table[name] / GIB, ".2f") for part, name in PARTS.items()}
    columns["peak (GiB)"] = number(table.peak_bytes / GIB, ".2f")
    columns[f"less than {style.suite_of(evidence).baseline.label}"] = [
        text and f"{text}%" for text in number(table.saved_percent, ".1f")
    ]
    columns["published (GB)"] = number(_published(evidence, table), ".1f")
    if table.measured_peak_bytes.notna().any():
        columns["measured (GiB)"] = number(table.measured_peak_bytes / GIB, ".2f")
        columns["computed / measured"] = number(table.computed_over_measured, ".3f")
    return pd.DataFrame(columns)


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    """Peaks of training by part, a panel for each precision (down) and mode (across)."""
    training = table[table.phase == "training"]
    if training.empty:
        return []
    names = [name.partition(" = 1 to ")[0] for name in _names(evidence, training)]
    rows = training.assign(name=names, published=_published(evidence, training), ratio=1 - training.saved_percent / 100)
    names, precisions = list(dict.fromkeys(names)), sorted(set(rows.precision))
    modes = sorted(set(rows.grad_checkpointing))
    size = {"height_in": 2 + 0.13 * len(names) * len(precisions), "width_in": style.PAGE_WIDTH_IN}
    figure, axes = style.panels(len(precisions), len(modes), **size, sharex=True, sharey=True)
    for (precision, mode), axis in zip(product(precisions, modes), axes.flat, strict=True):
        _bars(axis, rows[(rows.precision == precision) & (rows.grad_checkpointing == mode)], names)
        axis.set_title(f"{precision}, {MODES[mode]}")
    for axis in axes[-1]:
        axis.set_xlabel("GiB at the peak of a training step")
    axes[0, 0].set_xlim(0, 1.12 * rows.peak_bytes.max() / GIB)
    style.shared_legend(figure, axes.flat, columns=len(PARTS) + 2)
    style.note(figure, f"{_MARKS} {checked(evidence, table)}")
    return style.save(figure, evidence.path("figures", "memory"))


def _bars(axis: "Axes", rows: pd.DataFrame, names: list[str]) -> None:
    """Stacked bars, the peak in figures at their ends; published and measured peaks as marks."""
    places = [names.index(name) for name in rows.name]
    start = pd.Series(0.0, index=rows.index)
    for part, name in PARTS.items():
        axis.barh(places, rows[name] / GIB, left=start, height=0.7, color=COLORS[part], linewidth=0, label=part)
        start += rows[name] / GIB
    for place, peak, ratio in zip(places, rows.peak_bytes / GIB, rows.ratio, strict=True):
        text = f"{peak:.1f}" + (f" ({ratio:.0%})" if ratio == ratio else "")
        axis.annotate(text, (peak, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    marks: dict[str, tuple[pd.Series, dict[str, Any]]] = {
        "published (Table 1)": (rows.published, {"marker": "D", "markersize": 4, "markerfacecolor": "white"}),
        "measured": (rows.measured_peak_bytes / GIB, {"marker": "|", "markersize": 11, "markeredgewidth": 1.5}),
    }
    for label, (values, look) in marks.items():
        if values.notna().any():
            axis.plot(values, places, linestyle="none", markeredgecolor="black", zorder=3, label=label, **look)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.45, -0.55)
    axis.grid(visible=False, axis="y")
