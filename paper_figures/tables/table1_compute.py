"""Table 1: quality at three budgets with two samplers; parameters and training memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bench.spec.measurements import Footprint
from paper_figures import style
from paper_figures.evidence.comparisons import SAMPLERS, number, readable_twins, twins
from paper_figures.evidence.gather import Evidence, plus_minus
from paper_figures.published import TABLE1_PARAMETERS_M, TABLE1_TRAINING_MEMORY_GB
from paper_figures.tables.writing import printed, write_table

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


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/table1{,_ratios,_footprint}.{csv,md,tex}."""
    written: list[Path] = []
    if len(evidence.frame):
        table, note = twins(evidence), f"{_FD} {evidence.choice} {_PUBLISHED}"
        written += write_table(evidence, "table1", table, _readable(table, evidence.asked.model), note)
        written += write_table(evidence, "table1_ratios", table, ratios(table), note)
    if len(sizes := footprints(evidence)):
        written += write_table(evidence, "table1_footprint", sizes, _sizes(sizes), _FOOTPRINT, caption="")
    return written


def table_text(evidence: Evidence) -> str:
    """The tables to print at the end of a run: quality, ratios."""
    table = twins(evidence)
    return f"{printed(evidence, _readable(table, evidence.asked.model))}\n\n{printed(evidence, ratios(table))}"


def _readable(table: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """The paper's rows: budget and model; for each sampler FD and the published FID."""
    models = list(dict.fromkeys(models))
    rows = []
    for budget, cells in table.groupby("budget"):
        for model in models:
            row: dict[str, Any] = {"block passes": budget, "model": style.LABELS[model]}
            for sampler, cell in cells.groupby("sampler", sort=False):
                name = SAMPLERS[str(sampler)]
                row[f"FD ({name})"] = plus_minus(cell[f"{model}_fd"], cell[f"{model}_half"])[0]
                row[f"published FID ({name})"] = number(cell[f"published_{model}_fid"], ".1f")[0]
            for sampler, schedule in zip(cells.sampler, cells.schedule, strict=True):
                row[f"iterations x steps ({SAMPLERS[sampler]})"] = schedule if model == "fpdm" else ""
            rows.append(row)
    return pd.DataFrame(rows)


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """FPDM over DiT for each budget and sampler, for people."""
    readable = readable_twins(table)[["block passes", "sampler", "best FPDM / DiT", "verdict"]]
    return readable.assign(**{"published FPDM / DiT": number(table.published_ratio, ".2f")})


def footprints(evidence: Evidence) -> pd.DataFrame:
    """A row a size and model: parameters and bytes of a training step, and what FPDM saves."""
    rows = []
    for cell, record in evidence.records("footprint"):
        assert isinstance(cell, Footprint)
        spec = {name: getattr(cell, name) for name in ("size", "model", "batch_size", "precision", "n", "m")}
        rows.append(spec | record.metrics)
    table = pd.DataFrame(rows)
    for name in ("parameters", "peak_bytes") if rows else ():
        dit = table[table.model == "dit"].set_index("size")[name]
        table[f"{name}_saved_percent"] = 100 * (1 - table[name] / table["size"].map(dit))
    return table.sort_values("size", key=lambda sizes: sizes == "XL/2", kind="stable") if rows else table


def _sizes(table: pd.DataFrame) -> pd.DataFrame:
    published = [row.size == "XL/2" for row in table[["size"]].itertuples(index=False)]

    def only(values: dict[str, Any]) -> list[str]:
        return [str(values[m]) if shown else "" for m, shown in zip(table.model, published, strict=True)]

    def saved(name: str) -> list[str]:
        values = table[f"{name}_saved_percent"].where(table.model == "fpdm")
        return [text and f"{text}%" for text in number(values, ".1f")]

    return pd.DataFrame(
        {
            "size": table["size"],
            "training step": [
                f"batch {row.batch_size}, {row.precision}"
                + (f", n = {row.n}, m = {row.m}" if row.model == "fpdm" else "")
                for row in table.itertuples()
            ],
            "model": table.model.map(style.LABELS),
            "parameters (M)": number(table.parameters / 1e6, ".4g"),
            "published (M)": only(TABLE1_PARAMETERS_M),
            "fewer by": saved("parameters"),
            "training memory (GiB)": number(table.peak_bytes / 2**30, ".3g"),
            "published (GB)": only(TABLE1_TRAINING_MEMORY_GB),
            "less by": saved("peak_bytes"),
        }
    )
