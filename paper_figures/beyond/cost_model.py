"""What predicts the seconds of a sampling run: its block passes, as the paper counts (Sec. 4.2), its MACs, or a sum?

For the runs of a cell with quantities q_i each model says seconds = sum_i a_i q_i with a_i >= 0, and is fitted by least
squares on relative errors, so that small budgets count as much as large ones.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from paper_figures import style
from paper_figures.beyond.throughput import Network, looks, name_of, significant
from paper_figures.evidence.columns import number
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.speed_ratios import CELL, conditions, label, runs
from paper_figures.tables.writing import printed, write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = "throughput"
TITLE = "Cost model"
MODELS = {  # name -> the quantities that seconds are a sum of
    "block passes": ("block_passes",),
    "MACs": ("gmacs",),
    "passes + injections": ("block_passes", "injections"),
    "passes + injections + steps": ("block_passes", "injections", "steps"),
}
UNITS = {"block_passes": "ms a pass", "gmacs": "ms a GMAC", "injections": "ms an injection", "steps": "ms a step"}
_MEANING = (
    "Seconds of the sampling runs of both networks, medians over rounds, against sums of what they consist of; "
    "coefficients of a whole batch, none negative, by least squares on relative errors. R²: of the seconds, most of "
    "which any budget explains; R² at equal passes: of the seconds a block pass, for which the paper's account has one "
    "number. Residuals: predicted over measured, less 1."
)


@dataclass(frozen=True)
class Fit:
    """A model of seconds, fitted to the runs of one cell.

    Attributes:
        constants: milliseconds a unit, by quantity.
        predicted: seconds of each run.
        r2: 1 - squared errors / squared deviations from the mean, of the seconds.
        r2_a_pass: the same of seconds a block pass: 0 if no better than their mean, negative if worse.
        residuals: predicted / measured - 1, of each run.
    """

    constants: dict[str, float]
    predicted: np.ndarray
    r2: float
    r2_a_pass: float
    residuals: np.ndarray


def fit(table: pd.DataFrame, quantities: tuple[str, ...]) -> Fit | None:
    """Fit a model to the runs of one cell (rows of `runs`, with `gmacs`).

    None if they do not determine it: fewer runs than one more than constants, or quantities that go together.
    """
    measured = table.seconds_median.to_numpy()
    amounts = table[list(quantities)].to_numpy(float)
    relative = amounts / measured[:, None]
    scale = np.linalg.norm(relative, axis=0)
    if len(table) <= len(quantities) or not scale.all() or np.linalg.matrix_rank(relative / scale) < len(quantities):
        return None
    found = nnls(relative / scale, np.ones(len(table)))[0] / scale
    predicted = amounts @ found
    passes = table.block_passes.to_numpy()
    return Fit(
        dict(zip(quantities, (1e3 * found).tolist(), strict=True)),
        predicted,
        _r2(measured, predicted),
        _r2(measured / passes, predicted / passes),
        predicted / measured - 1,
    )


def fits(table: pd.DataFrame) -> dict[str, Fit]:
    """The models that the runs of one cell determine."""
    found = {name: fit(table, quantities) for name, quantities in MODELS.items()}
    return {name: one for name, one in found.items() if one is not None}


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a cell and model: constants, R², median and largest relative residual, and the run that has it."""
    rows: list[dict[str, Any]] = []
    for table in _cells(evidence):
        for name, one in fits(table).items():
            size = np.abs(one.residuals)
            worst = table.iloc[int(size.argmax())]
            row = dict(table.iloc[0][CELL]) | {"model": name, "runs": len(table)} | one.constants
            row |= {"r2": one.r2, "r2_a_pass": one.r2_a_pass, "largest_residual": one.residuals[size.argmax()]}
            row |= {"median_residual": float(np.median(size))}
            rows.append(row | {"largest_of": f"{name_of(evidence, worst.model, worst.iterations)} at {worst.budget}"})
    columns = [*CELL, "model", "runs", *UNITS, "r2", "r2_a_pass", "median_residual", "largest_residual", "largest_of"]
    return pd.DataFrame(rows, columns=columns)


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/cost_model.{csv,md,tex} and figures/cost_model.{png,pdf}."""
    table = summary(evidence)
    if table.empty:
        return []
    note = f"{_MEANING}{_undetermined(table)} {conditions(evidence)}."
    return [
        *write_table(evidence, "cost_model", table, _readable(table), note, caption=""),
        *_figure(evidence),
    ]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    table = summary(evidence)
    return printed(evidence, _readable(table)) if len(table) else ""


def _r2(values: np.ndarray, predicted: np.ndarray) -> float:
    around = ((values - values.mean()) ** 2).sum()
    return float(1 - ((values - predicted) ** 2).sum() / around) if around > 0 else np.nan


def _cells(evidence: Evidence) -> list[pd.DataFrame]:
    """The runs of each cell, with GMACs of the whole batch."""
    table = runs(evidence)
    if table.empty:
        return []
    table = table.assign(gmacs=table.macs * table.batch_size / 1e9)
    return [rows.reset_index(drop=True) for _, rows in table.groupby(CELL, sort=False)]


def _undetermined(table: pd.DataFrame) -> str:
    """Which cells lack a model, as a sentence after a blank."""
    names = [label(*rows.iloc[0][CELL]) for _, rows in table.groupby(CELL, sort=False) if len(rows) < len(MODELS)]
    return f" Left out: models whose constants the runs do not determine ({'; '.join(names)})." if names else ""


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "size": table["size"],
        "batch": table.batch_size,
        "seconds as a sum of": table.model,
        "runs": table.runs,
    }
    columns |= {unit: significant(table[name]) for name, unit in UNITS.items()}
    columns |= {"R²": number(table.r2, ".4f"), "R² at equal passes": number(table.r2_a_pass, ".4f")}
    columns["median residual"] = _percent(table.median_residual, ".1f")
    columns["largest residual"] = [
        f"{value} ({run})"
        for value, run in zip(_percent(table.largest_residual, "+.1f"), table.largest_of, strict=True)
    ]
    return pd.DataFrame(columns)


def _percent(values: pd.Series, form: str) -> list[str]:
    return [text and f"{text}%" for text in number(100 * values, form)]


def _figure(evidence: Evidence) -> list[Path]:
    """A panel a model: residuals by iterations. Filled: the first cell."""
    cells = _cells(evidence)
    known = looks(evidence, pd.concat(cells))
    fitted = [(cell, fits(cell)) for cell in cells]
    names = [name for name in MODELS if any(name in found for _, found in fitted)]
    figure, ((*axes,),) = style.panels(1, len(names), height_in=3.0, width_in=style.PAGE_WIDTH_IN, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        explained = [f"{found[name].r2_a_pass:.2f}" for _, found in fitted if name in found]
        axis.set_title(f"{name.replace(' + steps', chr(10) + '+ steps')}\nR² {', '.join(explained)}", fontsize=7.5)
        for i, (cell, found) in enumerate(fitted):
            if name in found:
                _points(axis, cell, found[name], known, filled=i == 0)
        _axes(axis, [str(k or style.labels(evidence)[model]) for model, k in known])
    axes[0].set_ylabel("predicted / measured, less 1")
    for network, look in known.items():
        axes[0].plot([], [], **look | {"linestyle": "none"}, label=name_of(evidence, *network))
    for i, cell in enumerate(cells):
        face = style.INK if i == 0 else "white"
        look = {"color": style.INK, "markerfacecolor": face, "label": label(*cell.iloc[0][CELL])}
        axes[0].plot([], [], "o", **look)
    style.shared_legend(figure, [axes[0]])
    style.note(
        figure,
        "Each size fitted by itself, no constant negative, least squares on relative errors. A point a sampling run of "
        "each budget and number of iterations k, seconds of a batch, median over rounds; budgets from left to "
        "right. R²: of seconds a block pass, filled first."
        f"{_undetermined(summary(evidence))} {conditions(evidence)}.",
    )
    return style.save(figure, evidence.path("figures", "cost_model"))


def _points(axis: "Axes", cell: pd.DataFrame, one: Fit, known: dict[Network, dict[str, Any]], filled: bool) -> None:
    """Residuals of one cell's runs."""
    budgets = sorted(set(cell.budget))
    for place, (network, look) in enumerate(known.items()):
        chosen = ((cell.model == network[0]) & (cell.iterations == network[1])).to_numpy()
        look = look | {"linestyle": "none", "markerfacecolor": look["color"] if filled else "white"}
        x = [place + 0.22 * (budgets.index(budget) - (len(budgets) - 1) / 2) for budget in cell.budget[chosen]]
        axis.plot(x, one.residuals[chosen], **look, markeredgecolor=look["color"])


def _axes(axis: "Axes", ticks: list[str]) -> None:
    """Zero, a tick a network, percent."""
    axis.axhline(0, color=style.INK, linewidth=0.8, zorder=0)
    axis.set_xticks(range(len(ticks)), ticks)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}" if value else "0")
    axis.set_xlabel("iterations k of a step")
    axis.grid(visible=False, axis="x")
