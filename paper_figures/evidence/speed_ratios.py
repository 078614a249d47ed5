"""What the records of speed cells say: ratios of what was timed side by side, and sampling runs against their floor.

Every round times each part once, so ratios are taken round by round: what slows a round slows both sides alike. Values
are medians over the rounds, beside the least and the largest. Parts of different cells are never divided.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.measurements import Speed
from bench.store.records import Record
from models.cost import block_macs, forward_macs, forward_passes, injection_macs, modulation_macs, shell_macs
from models.diffusion.allocation import affordable_steps
from models.zoo import ModelConfig
from paper_figures.evidence.gather import Evidence

BLOCK, BARE = "iteration / block", "iteration / bare block"
STACK = "stack of DiT's blocks / plain modules"
RUN = {"fpdm": "FPDM's sampling run / its parts", "dit": "DiT's sampling run / its parts"}
TRAINING = "training step, FPDM / DiT"
QUOTIENTS = {  # of an eager cell: the part above, the part below
    BLOCK: ("iteration", "block"),
    BARE: ("iteration", "bare block"),
    STACK: ("stack", "plain stack"),
    TRAINING: ("fpdm training step", "dit training step"),
}
COMPILED = {  # of a compiled cell
    f"compiled / eager {label}": (f"compiled {part}", f"eager {part}")
    for label, part in {
        "block": "block",
        "iteration": "iteration",
        "sampling step, DiT": "dit step",
        "sampling step, FPDM without iterations": "fpdm step",
        "training step, DiT": "dit training step",
        "training step, FPDM": "fpdm training step",
    }.items()
}
AIMS = {BLOCK: 1.30, STACK: 1.00, **dict.fromkeys(RUN.values(), 1.10)}  # at most
ORDER = [BLOCK, BARE, STACK, *RUN.values(), TRAINING, *COMPILED]
CELL = ["size", "precision", "batch_size"]

Seconds = dict[str, np.ndarray]  # of a part, one value a round, for the whole batch


@dataclass(frozen=True)
class Run:
    """A sampling run that was timed with its parts.

    Attributes:
        model: "dit" or "fpdm".
        config: its network.
        iterations: of each step; 0 for a DiT.
        budget: block passes that decide the steps.
        seconds: of the run, one value a round.
        step_parts: seconds of a step's blocks, binding and iterations by themselves, one value a round.
    """

    model: str
    config: ModelConfig
    iterations: int
    budget: int
    seconds: np.ndarray
    step_parts: np.ndarray

    @property
    def steps(self) -> int:
        return affordable_steps(self.budget, forward_passes(self.config, self.iterations))

    @property
    def block_passes(self) -> int:
        return self.steps * forward_passes(self.config, self.iterations)

    @property
    def excess(self) -> np.ndarray:
        """The run over its parts, round by round."""
        return self.seconds / (self.steps * self.step_parts)

    @property
    def excess_macs(self) -> float:
        """The same by MACs: what is in a run and in none of the parts is the shell."""
        whole = forward_macs(self.config, self.iterations)
        return whole / (whole - shell_macs(self.config))

    def __str__(self) -> str:
        return f"{self.budget} passes" + (f", k = {self.iterations}" if self.iterations else "")


def over_rounds(values: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Median, least and largest of one value a round."""
    found = np.median(values), values.min(), values.max()
    return {f"{prefix}{name}": float(value) for name, value in zip(("median", "low", "high"), found, strict=True)}


def ratios(evidence: Evidence) -> pd.DataFrame:
    """A row a ratio and cell: `over_rounds`, what is aimed at, in how many rounds it is reached; MACs by formula.

    Of the sampling runs there is one row a network: the run whose median is farthest above its parts.
    """
    rows: list[dict[str, Any]] = []
    for cell, record in measured(evidence):
        taken = seconds(record)
        names = COMPILED if cell.compiled else QUOTIENTS
        found = {
            name: taken[above] / taken[below] for name, (above, below) in names.items() if {above, below} <= {*taken}
        }
        worst = {RUN[run.model]: run for run in sorted(sampled(cell, taken), key=lambda run: np.median(run.excess))}
        found |= {name: run.excess for name, run in worst.items()}
        macs = _macs_of_iterations(cell) | {name: run.excess_macs for name, run in worst.items()}
        for name in (name for name in ORDER if name in found):
            aim, values = AIMS.get(name, np.nan), found[name]
            row = _of(cell) | {"ratio": name, "run": str(worst.get(name, ""))} | over_rounds(values)
            row |= {"rounds": len(values), "aim": aim}
            row |= {"rounds_within": np.nan if np.isnan(aim) else int((values <= aim).sum())}
            row |= {"macs_ratio": macs.get(name, np.nan), "compile_s": record.metrics.get("compile_s", np.nan)}
            rows.append(row)
    return pd.DataFrame(rows)


def runs(evidence: Evidence) -> pd.DataFrame:
    """A row a sampling run of an eager cell: schedule, cost, seconds of a batch, images/s against the floor's.

    The floor is what the device would take if it did nothing but multiply, at the rate of a large matrix product. MACs
    are of one image; `excess_*` is the run over the sum of its parts.
    """
    rows: list[dict[str, Any]] = []
    for cell, record in measured(evidence):
        for run in sampled(cell, seconds(record)):
            row = _of(cell) | {"model": run.model, "iterations": run.iterations, "budget": run.budget}
            row |= {"steps": run.steps, "block_passes": run.block_passes}
            row |= {"injections": run.steps * run.iterations}
            row |= {"macs": run.steps * forward_macs(run.config, run.iterations)}
            row |= over_rounds(run.seconds, "seconds_") | over_rounds(run.excess, "excess_")
            row["images_per_s"] = cell.batch_size / row["seconds_median"]
            row["floor_images_per_s"] = record.metrics.get("macs_per_s", np.nan) / row["macs"]
            row["of_floor"] = row["images_per_s"] / row["floor_images_per_s"]
            rows.append(row)
    return pd.DataFrame(rows)


def measured(evidence: Evidence) -> Iterator[tuple[Speed, Record]]:
    """The speed cells that are done, with their records."""
    for cell, record in evidence.records("speed"):
        assert isinstance(cell, Speed)
        yield cell, record


def seconds(record: Record) -> Seconds:
    """Seconds of each part."""
    return {part: np.array(values) for part, values in record.series.get("seconds", {}).items()}


def sampled(cell: Speed, taken: Seconds) -> Iterator[Run]:
    """The sampling runs of an eager cell; none of a compiled one."""
    configs = [(cell.dit, "dit", (0,)), (cell.fpdm, "fpdm", cell.iterations)]
    for config, model, ks in configs if {"block", "binding", "iteration"} <= {*taken} else []:
        for budget, k in product(cell.budgets, ks):
            if (part := f"{model} {budget}" + (f" k={k}" if k else "")) in taken:
                explicit = forward_passes(config, 0)
                once = explicit * taken["block"] + (taken["binding"] + k * taken["iteration"] if k else 0)
                yield Run(model, config, k, budget, taken[part], once)


def conditions(evidence: Evidence) -> str:
    """What was measured on what, as a sentence without its stop."""
    places: dict[str, list[str]] = {}
    for cell, record in measured(evidence):
        where = str(record.environment.get("hardware"))
        if (threads := record.timing.get("threads")) and record.environment.get("device") != "cuda":
            where += f" with {threads:.0f} thread{'s' * (threads != 1)}"
        places.setdefault(where, []).append(label(cell.size, cell.precision, cell.batch_size))
    return "; ".join(f"{', '.join(dict.fromkeys(labels))}: {where}" for where, labels in places.items())


def label(size: str, precision: str, batch_size: int) -> str:
    """What a cell's twins are called in titles."""
    return f"{size}, batch {batch_size}, {precision}"


def _of(cell: Speed) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in CELL}


def _macs_of_iterations(cell: Speed) -> dict[str, float]:
    """An iteration's MACs over a block's, with its modulation, which is computed once an image, and without."""
    config = cell.fpdm
    bare = block_macs(config)
    iteration = bare + injection_macs(config)
    return {BLOCK: iteration / (bare + modulation_macs(config)), BARE: iteration / bare}
