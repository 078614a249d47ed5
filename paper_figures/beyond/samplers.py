"""Beyond the paper: the contenders with four samplers. Sec. 4.3 says that the gain is orthogonal to the sampler."""

from pathlib import Path

import pandas as pd

from paper_figures import style
from paper_figures.evidence.comparisons import SAMPLERS, published_twins, readable_twins, twins
from paper_figures.evidence.gather import Evidence
from paper_figures.tables.writing import printed, write_table

GRID = "samplers"
TITLE = "Beyond the paper: samplers"
_FEW = "These are few: fewer steps of more iterations may suit a sampler better (Table 1 has them for DDPM and DDIM)."


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/samplers.{csv,md,tex} and figures/samplers.{png,pdf}."""
    if evidence.frame.empty:
        return []
    table = twins(evidence)
    note = f"FD: Fréchet distance, lower is better. {evidence.choice} {_FEW} Published: ImageNet, FID-50K (Table 1)."
    return [*write_table(evidence, "samplers", table, _readable(evidence, table), note), *_figure(evidence, table)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(evidence, twins(evidence)))


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    return readable_twins(evidence, table).assign(**published_twins(evidence, table))


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    shown = [one for one in style.contenders(evidence, evidence.frame.model) if f"{one.name}_fd" in table]
    names = {one.name: f"best {one.label}" if one.family.iterates else one.label for one in shown}
    place, arms = {"budget": table.budget, "sampler": table.sampler.map(SAMPLERS)}, []
    for name, label in names.items():
        columns = {column: table[f"{name}_{column}"].astype(float) for column in ("fd", "half")}
        arms.append(pd.DataFrame(place | columns | {"series": label}).rename(columns={"half": "fd_half"}))
    rows = pd.concat(arms)
    looks = {names[one.name]: style.look(one) for one in shown}
    grid = style.facets(rows, "budget", "sampler", looks, height_in=2.3, apart=1.06)
    for axis in grid.axes.flat:
        style.few_ticks(axis, sorted(set(rows.budget)), rows.fd.to_numpy(float))
    grid.set_axis_labels(evidence.unit, style.fd_label(evidence))
    style.shared_legend(grid.figure, grid.axes.flat)
    style.note(grid.figure, f"{evidence.caption}. {evidence.choice} {_FEW}{style.crosses(rows)}")
    return style.save(grid.figure, evidence.path("figures", "samplers"))
