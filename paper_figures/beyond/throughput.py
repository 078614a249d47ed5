"""Speed of networks: an iteration beside a block, a sampling run beside its parts and beside the device's own rate.

With a suffix the same is drawn of other cells (`accelerator`).
"""

import math
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from paper_figures import style
from paper_figures.evidence.columns import number
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.speed_ratios import CELL, conditions, label, ratios, runs
from paper_figures.tables.writing import printed, write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = "throughput"
TITLE = "Speed"
Network = tuple[str, int]  # contender and iterations, 0 where it has none
SLOT = 0.13  # octaves of budget between two points side by side
_OF = {"size": "size", "precision": "precision", "batch_size": "batch"}  # a cell's columns -> headings
_RATIOS = (
    "Medians over rounds, each of which times every part once (least to largest); ratios are taken round by round. A "
    "block is with its modulation, as a DiT pays it, a bare block without. The parts of a sampling run are its blocks, "
    "bindings (once a step) and iterations; of all runs the one farthest above its parts is shown. Plain modules: the "
    "same arithmetic as a sequence of timm's. FPDM's training step is the mean over the draws of stochastic JFB."
)
_RUNS = (
    "Seconds of a batch: medians over rounds (least to largest). MACs by formula, for one image. Floor: images/s of a "
    "device that does nothing but multiply, at its best rate of a large matrix product in the same precision. Parts: "
    "the run's blocks, bindings and iterations, timed by themselves."
)


def draw(evidence: Evidence, suffix: str = "") -> list[Path]:
    """Write tables/{speed,throughput}<suffix>.{csv,md,tex} and figures/throughput<suffix>.{png,pdf}."""
    written = []
    found, table = ratios(evidence), runs(evidence)
    for name, some, text, meaning in (
        ("speed", found, _readable_ratios, _RATIOS),
        ("throughput", table, _readable_runs, _RUNS),
    ):
        if len(some):
            note = " ".join([meaning, *_compilation(some), f"{conditions(evidence)}."])
            written += write_table(evidence, f"{name}{suffix}", some, text(evidence, some), note, caption="")
    return written + (_figure(evidence, table, f"throughput{suffix}") if len(table) else [])


def table_text(evidence: Evidence) -> str:
    """The tables to print at the end of a run."""
    found = (_readable_ratios(evidence, ratios(evidence)), _readable_runs(evidence, runs(evidence)))
    return "\n\n".join(printed(evidence, table) for table in found if len(table))


def looks(evidence: Evidence, table: pd.DataFrame) -> dict[Network, dict[str, Any]]:
    """Color and marker of each network and its iterations; of one that does not iterate, its contender's."""
    shown = style.contenders(evidence, table.model)
    fixed = [one for one in shown if not one.family.iterates]
    colors = cycle([color for color in style.SERIES if color.upper() not in {one.color.upper() for one in fixed}])
    markers = cycle([marker for marker in style.MARKERS if marker not in {one.marker for one in fixed}])
    found = {}
    for one in shown:
        for k in sorted(set(table.iterations[table.model == one.name])):
            color, marker = (one.color, one.marker) if one in fixed else (next(colors), next(markers))
            found[one.name, k] = {"color": color, "marker": marker}
    return found


def name_of(evidence: Evidence, model: str, iterations: int) -> str:
    """What is written of a contender and its iterations, if it has any."""
    return style.labels(evidence)[model] + (f", k = {iterations}" if iterations else "")


def significant(values: Iterable[float]) -> list[str]:
    """Numbers with three significant digits, without exponents or trailing points; empty where there is none."""

    def digits(value: float) -> int:
        return max(0, 2 - math.floor(math.log10(value))) if value else 0

    return ["" if math.isnan(value) else f"{value:.{digits(value)}f}" for value in values]


def between(
    table: pd.DataFrame, prefix: str, written: Callable[[Iterable[float]], list[str]] = significant
) -> list[str]:
    """Cells of a table for people: `1.27 (1.25 to 1.31)`, the median with the least and the largest."""
    columns = (written(table[f"{prefix}{name}"]) for name in ("median", "low", "high"))
    return [f"{median} ({low} to {high})" for median, low, high in zip(*columns, strict=True)]


def _headings(table: pd.DataFrame) -> dict[str, Any]:
    """The columns that tell cells apart; of precision and batch, only where there are several."""
    kept = [name for name in CELL if name == "size" or table[name].nunique() > 1]
    return {_OF[name]: table[name] for name in kept}


def _readable_ratios(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    within = [
        ""
        if pd.isna(row["aim"])
        else f"{'yes' if row['median'] <= row['aim'] else 'no'}, {row['rounds_within']:.0f} of {row['rounds']}"
        for row in table.to_dict("records")
    ]
    columns = {
        "ratio": [f"{name} ({run})" if run else name for name, run in zip(table.ratio, table.run, strict=True)],
        "measured": between(table, "", lambda values: number(values, ".3f")),
        "aim: at most": number(table.aim, ".2f"),
        "reached, in rounds": within,
        "by MACs": number(table.macs_ratio, ".3f"),
    }
    return pd.DataFrame(_headings(table) | columns)


def _readable_runs(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    columns = {
        "model": table.model.map(style.labels(evidence)),
        "k": [str(k or "") for k in table.iterations],
        "budget (passes)": table.budget,
        "steps": table.steps,
        "injections": table.injections,
        "s / batch": between(table, "seconds_"),
        "images / s": significant(table.images_per_s),
        "GMACs / image": significant(table.macs / 1e9),
        "floor, images / s": significant(table.floor_images_per_s),
        "of floor": [text and f"{text}%" for text in number(100 * table.of_floor, ".1f")],
        "run / parts": number(table.excess_median, ".3f"),
    }
    return pd.DataFrame(_headings(table) | columns)


def _compilation(table: pd.DataFrame) -> list[str]:
    """How long compilers took, as a sentence; none where nothing was compiled."""
    if "compile_s" not in table or table.compile_s.isna().all():
        return []
    cells = table.dropna(subset="compile_s").drop_duplicates(CELL).to_dict("records")
    times = (f"{cell['compile_s']:.0f} s ({label(*(cell[name] for name in CELL))})" for cell in cells)
    return [f"First calls of all parts, compilation included, took {', '.join(times)}."]


def _figure(evidence: Evidence, table: pd.DataFrame, name: str) -> list[Path]:
    """Seconds an image against budget, a panel a cell; dashes mark the floors, below."""
    cells = [cell for _, cell in table.groupby(CELL, sort=False)]
    known = looks(evidence, table)
    names = {network: name_of(evidence, *network) for network in known}
    figure, ((*axes,),) = style.panels(1, len(cells), height_in=3.4, sharey=table["size"].nunique() == 1)
    for axis, rows in zip(axes, cells, strict=True):
        _panel(axis, rows, {network: look | {"label": names[network]} for network, look in known.items()})
        axis.set_title(label(*rows.iloc[0][CELL]))
        axis.set_xlabel("budget: block passes")
    axes[0].set_ylabel("seconds an image")
    style.shared_legend(figure, axes)
    style.note(
        figure,
        "Points: medians over rounds, bars from the least to the largest; side by side at one budget. Floor: the "
        "same multiplications and nothing else, at the device's best rate of a large product. "
        f"{conditions(evidence)}.",
    )
    return style.save(figure, evidence.path("figures", name))


def _panel(axis: "Axes", rows: pd.DataFrame, known: dict[Network, dict[str, Any]]) -> None:
    """The runs of one cell, those of a budget side by side, each above its floor."""
    runs_of = {network: some for network, some in rows.groupby(["model", "iterations"]) if len(some)}
    shown = [network for network in known if network in runs_of]
    for place, network in enumerate(shown):
        some, look = runs_of[network], known[network]
        x = some.budget * 2 ** (SLOT * (place - (len(shown) - 1) / 2))
        low, median, high = (some[f"seconds_{end}"] / some.batch_size for end in ("low", "median", "high"))
        axis.errorbar(x, median, yerr=[median - low, high - median], linestyle="none", elinewidth=0.8, **look)
        half = 2 ** (0.4 * SLOT)
        axis.hlines(1 / some.floor_images_per_s, x / half, x * half, color=look["color"], linewidth=1.2)
    if rows.floor_images_per_s.notna().any():
        axis.plot([], [], "_", color=style.INK, markersize=7, markeredgewidth=1.2, label="floor: multiplications alone")
    style.log_x(axis, sorted(set(rows.budget)), margin=1.45)
    style.log_y(axis, style.COARSE)
    axis.grid(visible=False, axis="x")
