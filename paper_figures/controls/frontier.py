"""Figure: quality against what one image costs in block passes, MACs and seconds, and each contender's frontier."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from bench.spec.accounts import Account
from bench.spec.cells import Cell
from bench.system.errors import BadInputError
from models.diffusion.samplers import label_of
from paper_figures import style
from paper_figures.beyond.accounts import CURRENCIES
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import CHOICE

GRID = "controls"
TITLE = "Controls: the frontier"
ROUNDING = 1e-9  # relative; costs that differ by float rounding only are equal


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/frontier.{png,pdf}."""
    cells = points(evidence)
    if cells.empty:
        return []
    drawn = [name for name in CURRENCIES if cells[name].notna().any()]
    samplers = list(dict.fromkeys(cells.sampler))
    figure, axes = style.panels(len(samplers), len(drawn), height_in=0.8 + 2.3 * len(samplers), sharey="row")
    for row, sampler in zip(axes, samplers, strict=True):
        some = cells[cells.sampler == sampler]
        for axis, name in zip(row, drawn, strict=True):
            _panel(evidence, axis, some, name)
        style.log_y(row[0], style.FINE if some.fd.max() < 10 * some.fd.min() else style.COARSE)
        row[0].set_ylabel(f"{label_of(sampler)}: {style.fd_label(evidence)}")
    for axis, name in zip(axes[-1], drawn, strict=True):
        axis.set_xlabel(CURRENCIES[name][0])
    style.shared_legend(figure, axes.flat)
    style.note(figure, f"{evidence.caption}. {_meaning(evidence)} {_left_out(evidence, cells)}".strip())
    return style.save(figure, evidence.path("figures", "frontier"))


def points(evidence: Evidence) -> pd.DataFrame:
    """A row a schedule that has a finite FD in all replicates: their mean `fd`, and its cost in each currency.

    Seconds are NaN for a contender that has a cell without a price.
    """
    keys, costs = ["sampler", "budget", *CHOICE], {cell.key: _costs(evidence, cell) for cell in evidence.quality}
    frame = evidence.frame.assign(**{name: [costs[key][name] for key in evidence.frame.key] for name in CURRENCIES})
    first = {name: (name, "first") for name in CURRENCIES}
    found = frame.groupby(keys, as_index=False, sort=False).agg(fd=("fid", "mean"), seeds=("seed", "nunique"), **first)
    found = found[np.isfinite(found.fd.to_numpy(float)) & (found.seeds == len(evidence.replicates))]
    unpriced = {cell.model for cell in evidence.quality if math.isnan(costs[cell.key]["seconds"])}
    return found.assign(seconds=found.seconds.mask(found.model.isin(unpriced)))


def envelope(cells: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The cells that are better than all that cost as much or less, the cheapest first."""
    rows = cells.dropna(subset=cost).sort_values([cost, "fd"])
    return rows[rows.fd < rows.fd.cummin().shift(fill_value=math.inf)]


def winners(evidence: Evidence, cells: pd.DataFrame, cost: str) -> dict[float, str]:
    """What the baseline spends at each budget -> the contender that is best at no higher cost."""
    spent = {
        cell.budget: _costs(evidence, cell)[cost]
        for cell in evidence.quality
        if cell.model == evidence.compared.baseline_name
    }
    best = {}
    for limit in sorted(limit for limit in spent.values() if not math.isnan(limit)):
        affordable = cells[cells[cost] <= limit * (1 + ROUNDING)]
        if len(affordable):
            best[limit] = affordable.sort_values("fd").model.iloc[0]
    return best


def _costs(evidence: Evidence, cell: Cell) -> dict[str, float]:
    """What one image costs in each currency; NaN seconds without a price."""
    prices = evidence.selection.prices
    try:
        batch_s = Account("seconds", prices).run_price(cell.config, cell.iterations, cell.steps, cell.sampler)
    except BadInputError:  # not calibrated, or not for such a network
        batch_s = math.nan
    return {"blocks": cell.block_passes, "macs": cell.macs, "seconds": batch_s / (prices.batch_size if prices else 1)}


def _panel(evidence: Evidence, axis: Axes, cells: pd.DataFrame, cost: str) -> None:
    """Cells as faint points, frontiers as stairs; above the panel who is best at each budget."""
    scale = CURRENCIES[cost][1]
    end = cells[cost].max() * scale * 1.08
    for one in style.contenders(evidence, cells.model):
        own = cells[cells.model == one.name].dropna(subset=cost)
        if own.empty:
            continue
        stairs, look = envelope(own, cost), style.look(one)
        faint = {"linestyle": "none", "alpha": 0.3, "markersize": 3, "markeredgewidth": 0}
        axis.plot(own[cost] * scale, own.fd, **look | faint | {"label": "_"})
        x, y = [*stairs[cost] * scale, end], [*stairs.fd, stairs.fd.iloc[-1]]
        marked = list(range(len(stairs)))
        axis.plot(x, y, drawstyle="steps-post", linewidth=1.1, markersize=3.5, markevery=marked, **look)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=style.FINE))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(right=end)
    _name_winners(evidence, axis, {limit * scale: name for limit, name in winners(evidence, cells, cost).items()})


def _name_winners(evidence: Evidence, axis: Axes, best: dict[float, str]) -> None:
    """A line at each budget, and above it the label of who is best there, in its color."""
    known = [evidence.compared.contender(name) for name in best.values()]
    for limit in best:
        axis.axvline(limit, color=style.FAINT, linewidth=0.7, linestyle=":", zorder=0)
    top = axis.secondary_xaxis("top")
    top.set_xticks([*best], [one.label.replace(", ", ",\n") for one in known], fontsize=style.NOTE_PT)
    top.xaxis.set_minor_locator(NullLocator())
    top.tick_params(length=0, pad=1)
    top.spines["top"].set_visible(False)
    for text, one in zip(top.get_xticklabels(), known, strict=True):
        text.set_color(one.color)


def _meaning(evidence: Evidence) -> str:
    base, several = evidence.compared.baseline.label, len(evidence.replicates) > 1
    return (
        f"Faint: each schedule{', mean over replicates' if several else ''}. Line: the best of a contender's schedules "
        f"that cost as much or less. Dotted: what {base} spends at each budget; above it, who is best there. A line "
        "takes its schedules on the samples that score them, which flatters contenders with many; the tables "
        f"{'do not' if several else 'do so too'}."
    )


def _left_out(evidence: Evidence, cells: pd.DataFrame) -> str:
    """What is not drawn, and why; the machine whose seconds they are."""
    said = []
    prices = evidence.selection.prices
    unpriced = [one.label for one in style.contenders(evidence, cells.model[cells.seconds.isna()])]
    if prices is None:
        said.append("Seconds are not calibrated here.")
    else:
        said.append(f"Seconds as calibrated on {prices.hardware}, at batch {prices.batch_size}.")
        if unpriced:
            said.append(f"No seconds of {', '.join(unpriced)}: not calibrated.")
    schedules = ["sampler", "budget", *CHOICE]
    if len(cells) < len(evidence.frame[schedules].drop_duplicates()):
        said.append("Not drawn: schedules that diverged or lack a replicate.")
    return " ".join(said)
