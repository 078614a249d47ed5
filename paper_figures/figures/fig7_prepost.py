"""Figure 7: quality against budget for 0, 1, 2 and 4 pre/post layers, with all numbers as a table (Sec. 5.4)."""

from pathlib import Path

import numpy as np
import pandas as pd

from bench.spec.grids.paper import PREPOST_LAYERS
from paper_figures import style
from paper_figures.evidence.columns import over_seeds, quality_columns
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import best, interval
from paper_figures.evidence.pairing import lent
from paper_figures.tables.writing import printed, write_table

GRID = "prepost"
TITLE = "Figure 7: pre/post layers"


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig7_prepost.{png,pdf} and tables/prepost.{md,csv,tex}."""
    if evidence.frame.empty:
        return []
    rows = over_seeds(evidence.frame)
    once = _training(evidence.frame)
    spread = f"{once} Their ± is of sampling alone." if once else ""
    note = " ".join(filter(None, ("FD: Fréchet distance, lower is better.", evidence.shares_note, spread)))
    return [*_figure(evidence), *write_table(evidence, "prepost", rows, _readable(rows), note)]


def table_text(evidence: Evidence) -> str:
    """The table to print at the end of a run."""
    return printed(evidence, _readable(over_seeds(evidence.frame)))


def by_layers(evidence: Evidence) -> pd.DataFrame:
    """A row per number of layers and budget: FD at the iterations that are best in the other replicates.

    What was trained once is lent the twin's spread over training seeds, where the evidence has it.
    """
    rows = []
    for (layers, budget), cells in evidence.frame.groupby(["n_pre", "budget"]):
        values = best(cells).dropna()  # none where a replicate lacks what the others choose
        if len(values):
            half = interval(values, lent(evidence, cells))[1] - values.mean()
            rows.append({"n_pre": layers, "budget": budget, "fd": values.mean(), "fd_half": half})
    return pd.DataFrame(rows, columns=["n_pre", "budget", "fd", "fd_half"], dtype=float).astype(
        {"n_pre": int, "budget": int}
    )


def _training(frame: pd.DataFrame) -> str:
    """Which networks were trained once for all replicates."""
    seeds = frame.groupby("n_pre")[["seed", "train_seed"]].nunique()
    once = [str(n) for n in seeds.index[seeds.train_seed < seeds.seed]]
    if not once:
        return ""
    return f"Trained once: {', '.join(once)} layers."


def _readable(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "block passes": rows.budget,
            "pre/post layers": rows.n_pre,
            "iterations": rows.iterations,
            "steps": rows.steps,
            **quality_columns(rows),
            "trainings": rows.train_seeds,
        }
    ).sort_values(["block passes", "pre/post layers", "iterations"])


def _figure(evidence: Evidence) -> list[Path]:
    rows = by_layers(evidence)
    finite = rows[np.isfinite(rows.fd)]
    if finite.empty:
        return []
    suite = style.suite_of(evidence)
    own, colors = suite.subject.config.n_pre, iter(style.SERIES[1:])
    looks = {
        str(n): {"color": suite.subject.color if n == own else next(colors), "marker": marker}
        for n, marker in zip(PREPOST_LAYERS, style.MARKERS, strict=False)
    }
    grid = style.facets(
        finite.assign(series=finite.n_pre.map(str), panel=""), "budget", "panel", looks, height_in=3.0, apart=1.03
    )
    figure, axis = grid.figure, grid.axes.flat[0]
    style.few_ticks(axis, sorted(set(finite.budget)), finite.fd.to_numpy(float))
    axis.set(xlabel=f"{evidence.unit} an image", ylabel=style.fd_label(evidence))
    style.shared_legend(figure, [axis], title="pre/post layers")
    tried = " or ".join(map(str, sorted(set(evidence.frame.iterations))))
    others = "the other replicates" if len(evidence.replicates) > 1 else "the very samples that are shown"
    chosen = f"each at {tried} iterations, whichever is best on {others}"
    once = _training(evidence.frame)
    once += " Their bars have the spread of the twin over training seeds added." if once else ""
    lost = [f"{row.n_pre} at {row.budget}" for row in rows[np.isinf(rows.fd)].itertuples()]
    diverged = f" Diverged, hence not drawn: {', '.join(lost)}." if lost else ""
    style.note(figure, f"{evidence.caption}; {chosen}. {once}{diverged}")
    return style.save(figure, evidence.path("figures", "fig7_prepost"))
