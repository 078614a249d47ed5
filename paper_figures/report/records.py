"""The records of a results folder as the page lists them: those of equal cells but for their seeds side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.spec.contenders import Contender, Suite
from bench.spec.metrics import METRICS
from bench.store.records import Record
from models.diffusion.samplers import SAMPLERS, label_of
from paper_figures.evidence.comparisons import in_steps

ALIKE = (  # columns of `bench.store.table` that equal cells of several seeds share
    "contender", "budget", "n_pre", "iterations", "n_post", "steps", "sampler", "solver", "reuse", "reuse_mix",
    "allocation", "guidance", "samples", "dtype", "unroll", "n_max", "m_max", "learning_rate", "train_seconds",
    "train_steps", "macs",
)  # fmt: skip
LABELS = {name: metric.label for name, metric in METRICS.items()}
KINDS = {  # measure -> heading, in the page's order
    "quality": "Quality",
    "floor": "Real images",
    "images": "Kept images",
    "convergence": "Convergence",
    "footprint": "Memory",
    "speed": "Speed",
}
_LEFT_OUT = {"suite", "measure", "key", "run", "protocol", "config"}  # of a cell without a text of its own
_SOLVERS = {"anderson": "Anderson", "broyden": "Broyden"}


@dataclass(frozen=True, eq=False)
class Entry:
    """One record, with its row of `bench.store.table`; what is not known there is None."""

    record: Record
    row: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def anchor(self) -> str:
        """Name of its row in the page's addresses."""
        return f"record-{self.key}"

    @property
    def measure(self) -> str:
        return str(self.row["measure"])

    @property
    def seeds(self) -> str:
        """The replicate; if it was trained with another seed, that too."""
        if self.row["replicate"] is None:
            return ""
        seed, trained = self.row["replicate"], self.row["train_seed"]
        return f"{seed:g}" if trained in (None, seed) else f"{seed:g}, trained with {trained:g}"


@dataclass(frozen=True, eq=False)
class Group:
    """Records of equal cells but for their seeds.

    Attributes:
        place: of quality, what it shares with other schedules: contender, budget, sampler, settings. Else empty.
        name: of quality, its schedule; of other cells, the cell in words.
        grids: the grids that have it.
        entries: its records, by replicate.
    """

    place: str
    name: str
    grids: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{self.place}: {self.name}" if self.place else self.name

    @property
    def anchor(self) -> str:
        """Name of the group in the page's addresses; a single record's own."""
        first = self.entries[0]
        return f"cell-{first.key}" if len(self.entries) > 1 else first.anchor


def entries(records: Iterable[Record], table: pd.DataFrame) -> dict[str, Entry]:
    """Records by key, with their rows of a table as `bench.store.table.load` returns it."""
    known = {str(row["key"]): {str(name): _known(value) for name, value in row.items()} for row in _rows(table)}
    return {record.key: Entry(record, known[record.key]) for record in records if record.key in known}


def groups(found: Iterable[Entry], suite: Suite, described: Mapping[str, str]) -> list[Group]:
    """Groups in the order of measures, contenders and schedules; `described`: texts of cells by key."""
    together: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in found:
        alike = (*(entry.row[name] for name in ALIKE), _is_replicate(entry, suite))
        together.setdefault(alike if entry.measure == "quality" else (entry.key,), []).append(entry)
    made = []
    for members in together.values():
        members.sort(key=lambda one: (one.row["replicate"] or 0, one.row["train_seed"] or 0, one.key))
        made.append(_group(members, suite, described))
    order = {name: place for place, name in enumerate(suite.names)}
    samplers = {name: place for place, name in enumerate(SAMPLERS)}
    kinds = {name: place for place, name in enumerate(KINDS)}

    def place(group: Group) -> tuple[Any, ...]:
        entry = group.entries[0]
        row = entry.row
        numbers = (row[name] if row[name] is not None else -1 for name in ("budget", "n_pre", "iterations", "steps"))
        contender = order.get(row["contender"], len(order))
        return kinds.get(entry.measure, len(kinds)), contender, samplers.get(row["sampler"], 0), *numbers, group.title

    return sorted(made, key=place)


def _is_replicate(entry: Entry, suite: Suite) -> bool:
    """Whether its seeds are a replicate's of the suite, unlike those of samples and trainings beside them."""
    seed, trained = entry.row["replicate"], entry.row["train_seed"]
    return seed in suite.evaluation.seeds and (seed == trained or "elsewhere" in entry.record.cell.get("run", {}))


def metrics(entry: Entry) -> dict[str, float]:
    """A record's metrics; infinite distances if it diverged."""
    lost = {name: math.inf for name, metric in METRICS.items() if metric.lower_is_better}
    return lost if entry.record.status == "diverged" and entry.measure == "quality" else entry.record.metrics


def _group(members: Sequence[Entry], suite: Suite, described: Mapping[str, str]) -> Group:
    first, grids = members[0], dict.fromkeys(name for one in members for name in str(one.row["grids"]).split())
    if first.measure != "quality":
        return Group("", described.get(first.key) or _named(first), tuple(grids), tuple(members))
    known = {one.name: one for one in suite.contenders}.get(str(first.row["contender"]))
    place = [f"{first.row['label']}, {first.row['budget']:g} block passes", *_settings(first, known, suite)]
    place += [] if _is_replicate(first, suite) else ["other seeds"]
    return Group(", ".join(place), _schedule(first, known, suite), tuple(grids), tuple(members))


def _schedule(entry: Entry, known: Contender | None, suite: Suite) -> str:
    if known is None:
        return f"{entry.row['iterations']:g} x {entry.row['steps']:g}"
    cell = entry.record.cell  # older records do not have `reuse_mix`
    return in_steps(suite, cell | {"reuse_mix": cell.get("reuse_mix", known.config.reuse_mix)})


def _settings(entry: Entry, known: Contender | None, suite: Suite) -> list[str]:
    """The sampler of a quality cell, and what of its sampling and training is not as the suite has it."""
    row, recipe = entry.row, known.recipe if known else None
    found = [label_of(str(row["sampler"]))]
    if known and known.family.iterates and (row["n_pre"], row["n_post"]) != known.family.layout(known.config, 1)[::2]:
        found.append(f"{row['n_pre']:g}+k+{row['n_post']:g} blocks")
    if row["solver"] not in ("", "iteration"):
        found.append(_SOLVERS.get(str(row["solver"]), str(row["solver"])))
    if row["allocation"] not in ("", "constant"):
        found.append(f"{row['allocation']} allocation")
    if known and known.family.carries_state and row["reuse"] is False:
        found.append("no reuse")
    if row["guidance"] not in (None, 1):
        found.append(f"guidance {row['guidance']:g}")
    if row["unroll"] and (recipe is None or (row["unroll"], row["n_max"], row["m_max"]) != recipe.policy):
        found.append(f"trained with {row['unroll']} N = {row['n_max']:g}, M = {row['m_max']:g}")
    if row["learning_rate"] is not None and (recipe is None or row["learning_rate"] != recipe.learning_rate):
        found.append(f"learning rate {row['learning_rate']:g}")
    if row["train_steps"] is not None:
        found.append(f"{row['train_steps']:g} training steps")
    elif row["train_seconds"] is not None and (recipe is None or row["train_seconds"] != recipe.seconds):
        found.append(f"trained for {row['train_seconds']:g} s")
    if row["samples"] != suite.evaluation.samples:
        found.append(f"{row['samples']:g} samples")
    return found + ([str(row["dtype"])] if row["dtype"] not in ("", suite.evaluation.dtype) else [])


def _named(entry: Entry) -> str:
    """A cell without words of its own, by its fields."""
    cell = {name: value for name, value in entry.record.cell.items() if name not in _LEFT_OUT}
    return ", ".join(f"{name} {value}" for name, value in cell.items() if isinstance(value, str | int) and value != "")


def _known(value: Any) -> Any:
    """A value of a table; None for what is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return bool(value) if isinstance(value, bool) or type(value).__name__ == "bool_" else value


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.astype(object).to_dict("records")
