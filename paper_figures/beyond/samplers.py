"""Beyond the paper: DiT and FPDM with four samplers. Sec. 4.3 says that the gain is orthogonal to the sampler."""

from pathlib import Path

import numpy as np
import pandas as pd

from paper_figures import style
from paper_figures.evidence.comparisons import SAMPLERS, bars, few_ticks, published_twins, readable_twins, twins
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
    return [*write_table(evidence, "samplers", table, _readable(table), note), *_figure(evidence, table)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(twins(evidence)))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return readable_twins(table).assign(**published_twins(table))


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    samplers, budgets = list(dict.fromkeys(table.sampler)), sorted(set(table.budget))
    measured = table[["dit_fd", "fpdm_fd"]].to_numpy(float)
    figure, axes = style.panels(len(samplers), height_in=2.3)
    for axis, sampler in zip(axes, samplers, strict=True):
        for place, (model, marker, label) in enumerate((("dit", "o", "DiT"), ("fpdm", "s", "best FPDM"))):
            rows = table[table.sampler == sampler]
            rows = rows.assign(fd=rows[f"{model}_fd"].astype(float), fd_half=rows[f"{model}_half"].astype(float))
            bars(
                axis, rows.budget * 1.03 ** (2 * place - 1), rows, color=style.COLORS[model], marker=marker, label=label
            )
        few_ticks(axis, budgets, measured)
        axis.set_title(SAMPLERS[sampler])
        axis.set_xlabel(evidence.unit)
    axes[0].set_ylabel(f"Fréchet distance ({evidence.extractor})")
    style.shared_legend(figure, axes)
    lost = " Cross: diverged." if np.isinf(measured).any() else ""
    style.note(figure, f"{evidence.caption}. {evidence.choice} {_FEW}{lost}")
    return style.save(figure, evidence.path("figures", "samplers"))
