"""Figure 6a: quality with and without reusing solutions across timesteps, against iterations per timestep."""

from pathlib import Path

import pandas as pd

from paper_figures import style
from paper_figures.gather import Evidence, over_seeds

GRID = "reuse"
TITLE = "Figure 6a: reusing solutions"
_LOOKS = {
    True: ("s", "-", style.COLORS["fpdm"], "with reuse"),
    False: ("^", "--", style.COLORS["fpdm cold"], "without reuse"),
}


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig6a_reuse.{png,pdf} and tables/reuse.{md,csv}."""
    rows = over_seeds(evidence.frame)
    budgets = sorted(set(rows.budget))
    figure, axes = style.panels(len(budgets), height_in=2.4)
    for axis, budget in zip(axes, budgets, strict=True):
        for reuse, (marker, line, color, label) in _LOOKS.items():
            some = rows[(rows.budget == budget) & (rows.reuse == reuse)]
            axis.plot(some.iterations, some.fd, marker=marker, linestyle=line, color=color, label=label)
            if (some.seeds > 1).any():
                axis.fill_between(some.iterations, some.fd_low, some.fd_high, color=color, alpha=0.2, linewidth=0)
        axis.set_title(f"{budget} block passes")
        style.iteration_axes(axis)
    axes[0].set_ylabel(f"Fréchet distance ({evidence.cells[0].protocol.extractor})")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    figure.supxlabel(evidence.caption, fontsize=6.5, color="#444444")
    return [*style.save(figure, evidence.path("figures", "fig6a_reuse")), *_tables(evidence, rows)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return _readable(pairs(over_seeds(evidence.frame))).to_markdown(
        index=False, disable_numparse=True, stralign="right"
    )


def pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per budget and iterations: FD with reuse, without, and the share of it that reuse takes off."""
    keys = ["budget", "iterations", "steps"]
    table = rows.pivot_table(index=keys, columns="reuse", values="fd").reset_index()
    table = table.rename(columns={True: "with_reuse", False: "without_reuse"})
    if {"with_reuse", "without_reuse"} <= set(table.columns):
        table["reduction"] = 1 - table.with_reuse / table.without_reuse
    return table


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    headings = {
        "budget": "block passes",
        "with_reuse": "FD with reuse",
        "without_reuse": "FD without",
        "reduction": "reuse takes off",
    }
    formats = {"with_reuse": "{:.3f}", "without_reuse": "{:.3f}", "reduction": "{:z.0%}"}  # z: no minus before 0
    readable = table.assign(**{name: table[name].map(form.format) for name, form in formats.items() if name in table})
    return readable.rename(columns=headings)


def _tables(evidence: Evidence, rows: pd.DataFrame) -> list[Path]:
    table = pairs(rows)
    paths = [evidence.path("tables", "reuse.csv"), evidence.path("tables", "reuse.md")]
    table.to_csv(paths[0], index=False, float_format="%.6g", lineterminator="\n")
    paths[1].write_text(f"{table_text(evidence)}\n\n{evidence.caption}. FD: Frechet distance, lower is better.\n")
    return paths
