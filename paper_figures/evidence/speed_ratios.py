"""Ratios from speed records: parts that were timed side by side, and sampling runs against their parts and the device.

Each round times every part once. Ratios are taken round by round: a slow round slows both sides alike. Values are
medians over the rounds, beside the least and the largest. Parts of different cells are never divided.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.contenders import Contender, Suite
from bench.spec.measurements import Speed
from bench.store.records import Record
from models.config import ModelConfig
from models.cost import block_macs, injection_macs, modulation_macs, shell_macs
from models.diffusion.allocation import affordable_steps
from models.families import family_of, forward_macs, forward_passes
from paper_figures.evidence.gather import Evidence

BLOCK, BARE = "iteration / block", "iteration / bare block"
STACK = "stack of DiT's blocks / plain modules"
AIMS = {BLOCK: 1.30, STACK: 1.00}  # at most
RUN_AIM = 1.10  # of a sampling run over its parts
CELL = ["size", "precision", "batch_size"]

Seconds = dict[str, np.ndarray]  # of a part, one value a round, for the whole batch


@dataclass(frozen=True)
class Run:
    """A sampling run that was timed with its parts.

    Attributes:
        model: the contender's name.
        config: its network.
        iterations: of each step; 0 if it does not iterate.
        budget: block passes that decide the number of steps.
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
        """The same ratio by MACs: the parts leave out the network's shell."""
        whole = forward_macs(self.config, self.iterations)
        return whole / (whole - shell_macs(self.config))

    def __str__(self) -> str:
        return f"{self.budget} passes" + (f", k = {self.iterations}" if self.iterations else "")


def over_rounds(values: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Median, least and largest of one value a round."""
    found = np.median(values), values.min(), values.max()
    return {f"{prefix}{name}": float(value) for name, value in zip(("median", "low", "high"), found, strict=True)}


def run_over_parts(contender: Contender) -> str:
    """Name of the ratio of a contender's sampling run to its parts."""
    return f"{contender.label}'s sampling run / its parts"


def training_ratio(suite: Suite) -> str:
    """Name of the ratio of the two training steps."""
    return f"training step, {suite.subject.label} / {suite.baseline.label}"


def quotients(suite: Suite, compiled: bool) -> dict[str, tuple[str, str]]:
    """The ratios of parts of a cell, eager or compiled: name -> the part above, the part below."""
    both = (suite.baseline, suite.subject)
    if not compiled:
        steps = (f"{suite.subject_name} training step", f"{suite.baseline_name} training step")
        return {
            BLOCK: ("iteration", "block"),
            BARE: ("iteration", "bare block"),
            STACK: ("stack", "plain stack"),
            training_ratio(suite): steps,
        }
    parts = {"block": "block", "iteration": "iteration"}
    for one in both:
        without = " without iterations" if one.family.iterates else ""
        parts[f"sampling step, {one.label}{without}"] = f"{one.name} step"
    parts |= {f"training step, {one.label}": f"{one.name} training step" for one in both}
    return {f"compiled / eager {name}": (f"compiled {part}", f"eager {part}") for name, part in parts.items()}


def ratios(evidence: Evidence) -> pd.DataFrame:
    """A row for each ratio and cell: `over_rounds`, its aim, in how many rounds it is reached; MACs by formula.

    A network's sampling runs have one row: the run whose median is farthest above its parts.
    """
    suite = evidence.compared
    rows: list[dict[str, Any]] = []
    for cell, record in measured(evidence):
        taken = seconds(record)
        names = quotients(suite, cell.compiled)
        found = {
            name: taken[above] / taken[below] for name, (above, below) in names.items() if {above, below} <= {*taken}
        }
        slowest = {run.model: run for run in sorted(sampled(cell, taken), key=lambda run: np.median(run.excess))}
        worst = {
            run_over_parts(one): slowest[one.name] for one in (suite.subject, suite.baseline) if one.name in slowest
        }
        found |= {name: run.excess for name, run in worst.items()}
        aims = AIMS | dict.fromkeys(worst, RUN_AIM)
        macs = _macs_of_iterations(cell) | {name: run.excess_macs for name, run in worst.items()}
        for name in (name for name in dict.fromkeys([BLOCK, BARE, STACK, *worst, *found]) if name in found):
            aim, values = aims.get(name, np.nan), found[name]
            row = _of(cell) | {"ratio": name, "run": str(worst.get(name, ""))} | over_rounds(values)
            row |= {"rounds": len(values), "aim": aim}
            row |= {"rounds_within": np.nan if np.isnan(aim) else int((values <= aim).sum())}
            row |= {"macs_ratio": macs.get(name, np.nan), "compile_s": record.metrics.get("compile_s", np.nan)}
            rows.append(row)
    return pd.DataFrame(rows)


def runs(evidence: Evidence) -> pd.DataFrame:
    """A row for each sampling run of an eager cell: schedule, cost, seconds of a batch, images/s beside the floor's.

    The floor is the time of a device that only multiplies, at its rate of a large matrix product. MACs are of one
    image; `excess_*` is the run over the sum of its parts.
    """
    rows: list[dict[str, Any]] = []
    for cell, record in measured(evidence):
        for run in sampled(cell, seconds(record)):
            names = ("model", "iterations", "budget", "steps", "block_passes")
            row = _of(cell) | {name: getattr(run, name) for name in names}
            row["injections"] = run.steps * family_of(run.config).injections(run.config, run.iterations)
            row["macs"] = run.steps * forward_macs(run.config, run.iterations)
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
    for model, config in cell.configs.items():
        family = family_of(config)
        for budget, k in product(cell.budgets, cell.iterations if family.iterates else (0,)):
            run, parts = f"{model} {budget}" + (f" k={k}" if k else ""), family.parts(config, k)
            if {run, *parts} <= {*taken}:
                once = sum((count * taken[name] for name, count in parts.items()), np.zeros(1))
                yield Run(model, config, k, budget, taken[run], once)


def conditions(evidence: Evidence) -> str:
    """The hardware that each cell was measured on, as a sentence without its stop."""
    places: dict[str, list[str]] = {}
    for cell, record in measured(evidence):
        where = str(record.environment.get("hardware"))
        if (threads := record.timing.get("threads")) and record.environment.get("device") != "cuda":
            where += f" with {threads:.0f} thread{'s' * (threads != 1)}"
        places.setdefault(where, []).append(label(cell.size, cell.dtype, cell.batch_size))
    return "; ".join(f"{', '.join(dict.fromkeys(labels))}: {where}" for where, labels in places.items())


def label(size: str, precision: str, batch_size: int) -> str:
    """A cell's networks and settings in titles."""
    return f"{size}, batch {batch_size}, {precision}"


def _of(cell: Speed) -> dict[str, Any]:
    return {"size": cell.size, "precision": cell.dtype, "batch_size": cell.batch_size}


def _macs_of_iterations(cell: Speed) -> dict[str, float]:
    """An iteration's MACs over a block's, with its modulation, which is computed once an image, and without."""
    config = next(config for config in cell.configs.values() if family_of(config).iterates)
    bare = block_macs(config)
    iteration = bare + injection_macs(config)
    return {BLOCK: iteration / (bare + modulation_macs(config)), BARE: iteration / bare}
