"""Table 1: quality at three budgets with two samplers; parameters and training memory."""

import math
from itertools import product
from typing import Any

import pandas as pd

from bench.spec.measurements import PUBLISHED, Footprint
from models.diffusion.samplers import label_of
from paper_figures.evidence.columns import number, percent, plus_minus, readable_shares
from paper_figures.evidence.comparisons import FIGURE_4, ONE_SAMPLER, readable_twins, twins
from paper_figures.evidence.gather import Evidence
from paper_figures.published import TABLE1_PARAMETERS_M, TABLE1_TRAINING_MEMORY_GB
from paper_figures.tables.writing import Table, drawn

GRID = "compute"
TITLE = "Table 1: equal sampling compute"
_FD = "FD: Fréchet distance, lower is better."
_PUBLISHED = "Published: ImageNet, FID-50K (Table 1)."
_FOOTPRINT = (
    "Parameters and memory need no weights or samples. Memory is computed, not measured on a GPU: the peak of the "
    "bytes that a training step's tensors ask for, every storage followed from its making to its freeing on "
    "torch's meta device (bench/profiling/memory.py); the CUDA context, workspaces and what the allocator rounds up "
    "come on top. "
    "Published: 87% fewer parameters, 60% less memory at batch 64 (Table 1); whether its GB "
    "are of 10 to the 9 or 2 to the 30 bytes, and what it counts, the paper does not say: the absolute values "
    "differ, for a reason that we do not know."
)


def tables(evidence: Evidence) -> list[Table]:
    """Quality, the ratios of subject to baseline, footprints: those that there are records of."""
    found: list[Table] = []
    if len(evidence.frame):
        table, note = twins(evidence), _note(evidence)
        found += [
            Table("table1", table, _readable(evidence, table), note),
            Table("table1_ratios", table, ratios(evidence, table), note),
        ]
    if len(sizes := footprints(evidence)):
        found.append(Table("table1_footprint", sizes, _sizes(evidence, sizes), _FOOTPRINT, caption="", shown=False))
    return found


draw, table_text = drawn(tables)


def _note(evidence: Evidence) -> str:
    return " ".join(
        filter(None, (_FD, evidence.shares_note, evidence.choice, FIGURE_4, ONE_SAMPLER, _PUBLISHED)),
    )


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """The paper's rows: budget and contender; for each sampler FD, published FID and schedule."""
    suite = evidence.compared
    contenders = [one for one in evidence.contenders if one.name in set(evidence.asked.model)]
    rows = []
    for (budget, cells), one in product(table.groupby("budget"), contenders):
        row: dict[str, Any] = {"block passes": budget, "model": one.label}
        measured = plus_minus(cells[f"{one.name}_fd"], cells[f"{one.name}_half"])
        published = number(cells.get(f"published_{one.name}_fid", [math.nan] * len(cells)), ".1f")
        schedules = cells.get("schedule" if one == suite.subject else f"{one.name}_schedule", [""] * len(cells))
        names = cells.sampler.map(label_of)
        for name, fd, fid in zip(names, measured, published, strict=True):
            row |= {f"FD ({name})": fd, f"published FID ({name})": fid}
        for share, values in readable_shares(cells, f"{one.name}_").items():
            heading = f"{share[:-1]}, {{}})" if share.endswith(")") else f"{share} ({{}})"
            row |= {heading.format(name): value for name, value in zip(names, values, strict=True)}
        row |= {f"iterations x steps ({name})": text for name, text in zip(names, schedules, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def ratios(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """Subject over baseline for each budget and sampler, for people."""
    published = f"published {evidence.compared.subject.label} / {evidence.compared.baseline.label}"
    readable = readable_twins(evidence, table).iloc[:, [0, 1, -2, -1]]  # budget, sampler, ratio, verdict
    return readable.assign(**{published: number(table.published_ratio, ".2f")})


def footprints(evidence: Evidence) -> pd.DataFrame:
    """A row for each size and contender: parameters and bytes of a training step, and their savings on the baseline."""
    rows = []
    for cell, record in evidence.records("footprint"):
        assert isinstance(cell, Footprint)
        names = {"size": "size", "model": "model", "batch_size": "batch_size", "precision": "dtype", "n": "n", "m": "m"}
        spec = {column: getattr(cell, name) for column, name in names.items()}
        rows.append(spec | record.metrics)
    table = pd.DataFrame(rows)
    for name in ("parameters", "peak_bytes") if rows else ():
        baseline = table[table.model == evidence.compared.baseline_name].set_index("size")[name]
        table[f"{name}_saved_percent"] = 100 * (1 - table[name] / table["size"].map(baseline))
    return table.sort_values("size", key=lambda sizes: sizes == PUBLISHED["size"], kind="stable") if rows else table


def _sizes(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    contenders = [evidence.compared.contender(name) for name in table.model]

    def published(values: dict[str, Any]) -> list[str]:
        known = table.model.map(values).where(table["size"] == PUBLISHED["size"])
        return [str(values[model]) if there else "" for model, there in zip(table.model, known.notna(), strict=True)]

    def saved(name: str) -> list[str]:
        return percent(table[f"{name}_saved_percent"].where(table.model != evidence.compared.baseline_name))

    steps = [
        f"batch {row.batch_size}, {row.precision}" + (f", n = {row.n}, m = {row.m}" if one.family.iterates else "")
        for row, one in zip(table.itertuples(), contenders, strict=True)
    ]
    return pd.DataFrame(
        {
            "size": table["size"],
            "training step": steps,
            "model": [one.label for one in contenders],
            "parameters (M)": number(table.parameters / 1e6, ".4g"),
            "published (M)": published(TABLE1_PARAMETERS_M),
            "fewer by": saved("parameters"),
            "training memory (GiB)": number(table.peak_bytes / 2**30, ".3g"),
            "published (GB)": published(TABLE1_TRAINING_MEMORY_GB),
            "less by": saved("peak_bytes"),
        }
    )
