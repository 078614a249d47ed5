"""Beyond the paper: the contenders with each sampler. Sec. 4.3 says that the gain is orthogonal to the sampler."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from models.diffusion.samplers import get_sampler, label_of
from paper_figures import style
from paper_figures.evidence.comparisons import (
    FIGURE_4,
    ONE_SAMPLER,
    at_best,
    published_twins,
    readable_twins,
    twins,
)
from paper_figures.evidence.gather import Evidence
from paper_figures.tables.writing import printed, write_table

GRID = "samplers"
TITLE = "Beyond the paper: samplers"
APART = 1.08  # factor between the budgets of points side by side
_FEW = "These are few: fewer steps of more iterations may suit a sampler better (Table 1 has them for DDPM and DDIM)."


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/samplers.{csv,md,tex} and figures/samplers.{png,pdf}, of the samplers that there are records of."""
    if evidence.frame.empty:
        return []
    table = _table(evidence)
    shares = f"{evidence.shares_note} " if evidence.shares_note else ""
    note = f"FD: Fréchet distance, lower is better. {shares}{evidence.choice} {_FEW}{_evaluations(table)} {FIGURE_4}"
    note += f" {ONE_SAMPLER}"
    note += " Published: ImageNet, FID-50K (Table 1)."
    return [*write_table(evidence, "samplers", table, _readable(evidence, table), note), *_figure(evidence, table)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(evidence, _table(evidence)))


def _table(evidence: Evidence) -> pd.DataFrame:
    table = twins(evidence)
    return table[table.sampler.isin(evidence.frame.sampler)].reset_index(drop=True)


def _evaluations(table: pd.DataFrame) -> str:
    """Sentences, each with a space before it, on samplers that evaluate the network several times a step."""
    several = (one for one in map(get_sampler, table.sampler.unique()) if one.evaluations > 1)
    return "".join(f" {one.label}: {one.evaluations} evaluations a step, hence fewer steps." for one in several)


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    return readable_twins(evidence, table).assign(**published_twins(evidence, table))


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    """A panel a contender, samplers side by side: where two give the same, both points are seen."""
    shown = [one for one in style.contenders(evidence, evidence.frame.model) if f"{one.name}_fd" in table]
    place, arms = {"budget": table.budget, "series": table.sampler.map(label_of)}, []
    for one in shown:
        columns = {"fd": table[f"{one.name}_fd"].astype(float), "fd_half": table[f"{one.name}_half"].astype(float)}
        arms.append(pd.DataFrame(place | columns | {"contender": at_best(one)}))
    rows = pd.concat(arms)
    looks = {one.label: style.look(one) for one in map(get_sampler, table.sampler.unique())}
    grid = style.facets(rows, "budget", "contender", looks, height_in=2.9, apart=APART, plot=_points)
    for axis in grid.axes.flat:
        style.few_ticks(axis, sorted(set(rows.budget)), rows.fd.to_numpy(float))
    grid.set_axis_labels(evidence.unit, style.fd_label(evidence))
    style.shared_legend(grid.figure, grid.axes.flat, columns=len(looks))
    note = f"{evidence.caption}. {evidence.choice} {_FEW}{_evaluations(table)}{style.crosses(rows)}"
    style.note(grid.figure, note)
    return style.save(grid.figure, evidence.path("figures", "samplers"))


def _points(axis: Axes, x: pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    style.curve(axis, x, rows, **look | {"linewidth": 0.6})
