"""Which records stand behind a number of a table: found by the words of its row and of its column.

What a heading does not settle is left open: the records of a number are never too few, at worst more than it needs.
"""

import re
from collections.abc import Mapping, Sequence

from bench.spec.accounts import ACCOUNTS
from bench.spec.datasets import get_dataset
from models.diffusion.samplers import label_of
from paper_figures.evidence.gather import Evidence
from paper_figures.report.records import Entry
from paper_figures.tables.table4_gradients import METHODS

HEADINGS = {  # of columns that say what a row is about -> the property of a record that they name
    "block passes": "budget", "budget (passes)": "budget", "model": "label", "contender": "label", "sampler": "sampler",
    "iterations": "iterations", "k": "iterations", "steps": "steps", "pre/post layers": "n_pre",
    "allocation": "allocation", "method": "unroll", "N": "n_max", "learning rate": "learning_rate",
    "training (s)": "train_seconds", "equal in": "accounts", "size": "size", "batch": "batch", "phase": "phase",
    "checkpointing": "checkpointing",
}  # fmt: skip
OF_COST = HEADINGS | {"precision": "precision"}  # in tables of quality, that is a metric
PIVOTS = {"M = N in training": "n_max"}  # first headings of tables whose other headings are values of this property
SOLVERS = {"plain": "iteration", "Anderson": "anderson", "Broyden": "broyden"}
_OPEN = re.compile(r"\b(published|aim)\b")  # of columns and rows that hold nothing measured
ONCE = "with one"  # columns of the same steps with one iteration
COUNTED = ("claim", "blocks", "schedules")  # headings of columns whose numbers no record has
_UNITS = ("s", "image", "batch", "training")  # after a slash they make no ratio
_AT = re.compile(r"(?:\bat |, |^k = )(\d+)(?: iterations)?(?:$|, )")
_MEASURED = re.compile(r"^[-+]?\d")

Wanted = dict[str, set[str]]


def properties(entry: Entry) -> dict[str, set[str]]:
    """What tables call a record, by property; a property that it does not have is left out."""
    row, cell = entry.row, entry.record.cell
    names = ("budget", "iterations", "steps", "n_pre", "n_max", "learning_rate", "train_seconds")
    found = {name: f"{row[name]:.6g}" for name in names if row[name] is not None}
    found |= {name: str(row[name]) for name in ("label", "solver", "allocation") if row[name]}
    if row["sampler"]:
        found |= {"sampler": label_of(str(row["sampler"])), "reuse": str(row["reuse"])}
    if row["unroll"]:
        found["unroll"] = METHODS.get(str(row["unroll"]), str(row["unroll"]))
    found |= {name: str(cell[name]) for name in ("size", "precision", "phase") if cell.get(name)}
    if "batch_size" in cell:
        found["batch"] = str(cell["batch_size"])
    if cell.get("phase") == "training":
        found["checkpointing"] = "on" if cell.get("grad_checkpointing") else "off"
        m = cell.get("m")
        found["draws"] = f"mean over m = 1 to {m}" if cell.get("unroll") == "stochastic" else f"m = {m}"
    accounts = {ACCOUNTS[name] for name in str(row["accounts"] or "").split()}
    return {name: {text} for name, text in found.items()} | ({"accounts": accounts} if accounts else {})


class Axes:
    """Finds the records behind the numbers of one grid's tables."""

    def __init__(self, evidence: Evidence, known: Mapping[str, Entry]) -> None:
        quality = set(evidence.frame.key)
        kept = {key: known[record.key] for key, record in evidence.kept.items() if record.key in known}
        self._quality = {one.key: properties(one) for key, one in kept.items() if key in quality}
        self._others = {one.key: properties(one) for one in kept.values() if one.measure in ("footprint", "speed")}
        self._units = {evidence.unit, f"{evidence.compared.baseline.label} passes"}
        self._dataset = {get_dataset(evidence.compared.dataset).label}
        self._dataset |= {f"{label} ({evidence.suite})" for label in self._dataset}

    def of_table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[list[str]]]:
        """The keys of the records behind each cell, in the cells' places; none where a cell has no measured number."""
        of_quality = "size" not in headings and "phase" not in headings
        pool = self._quality if of_quality else self._others
        named = (HEADINGS if of_quality else OF_COST) | dict.fromkeys(self._units, "budget")
        axes = [named.get(heading, "") for heading in headings]
        known: Wanted = {}
        for one in pool.values():
            for name, values in one.items():
                known.setdefault(name, set()).update(values)
        return [[self._behind(pool, known, headings, axes, row, place) for place in range(len(row))] for row in rows]

    def _behind(
        self,
        pool: Mapping[str, Wanted],
        known: Wanted,
        headings: Sequence[str],
        axes: Sequence[str],
        row: Sequence[str],
        place: int,
    ) -> list[str]:
        heading = headings[place]
        about = " ".join([heading, row[0], *(text for text, axis in zip(row, axes, strict=True) if axis)])
        if axes[place] or heading in COUNTED or not _MEASURED.match(row[place]) or _OPEN.search(about):
            return []
        if any(name == "dataset" and text not in self._dataset for name, text in zip(headings, row, strict=True)):
            return []  # of another suite's records
        wanted = _of_row(known, axes, row)
        refined = _refined(known, wanted, heading)
        if headings[0] in PIVOTS:
            refined = _refined(known, refined | {PIVOTS[headings[0]]: {heading}}, row[0])
        return _matching(pool, refined) or _matching(pool, wanted)


def _of_row(known: Wanted, axes: Sequence[str], row: Sequence[str]) -> Wanted:
    """What a row names of properties that records have; `known`: all that these are called."""
    wanted: Wanted = {}
    for axis, text in zip(axes, row, strict=True):
        label, _, draws = text.partition(", ")
        if text in known.get(axis, ()):
            wanted[axis] = {text}
        elif axis == "label" and label in known.get(axis, ()):
            wanted |= {axis: {label}} | ({"draws": {draws}} if draws in known.get("draws", ()) else {})
        elif axis == "allocation" and (name := text.partition(":")[0]) in known.get(axis, ()):
            wanted[axis] = {name}
    return wanted


def _matching(pool: Mapping[str, Wanted], wanted: Wanted) -> list[str]:
    """Keys of the records that have these properties, as far as they have such a property."""
    return [
        key
        for key, one in pool.items()
        if all(name not in one or not values.isdisjoint(one[name]) for name, values in wanted.items())
    ]


def _refined(known: Wanted, wanted: Wanted, heading: str) -> Wanted:
    """What is wanted, with what the heading of a column names."""
    found = dict(wanted)
    if ONCE in heading:
        found.pop("budget", None)
        return found | {"iterations": {"1"} | (set() if heading.startswith(ONCE) else found.get("iterations", set()))}
    left, slash, right = heading.partition(" / ")
    is_ratio = bool(slash) and right.split()[0].strip(",") not in _UNITS
    if is_ratio or heading.startswith("ratio to"):
        for name in ("unroll", "n_max"):
            found.pop(name, None)
    sides = [_labels(known, side) for side in (left, right)] if is_ratio else [_labels(known, heading)]
    if is_ratio and not all(sides) and not (sides[1] and "label" in wanted and left.startswith("FD")):
        found.pop("label", None)
    elif mentioned := set().union(*sides):
        found["label"] = mentioned | wanted.get("label", set())
    for name, words in (("solver", SOLVERS), ("allocation", {text: text for text in known.get("allocation", ())})):
        named = {words[word] for word in re.findall(r"\w+", heading) if word in words}
        if named and named <= known.get(name, set()):
            found[name] = named
    for sampler in known.get("sampler", ()):
        if heading.endswith(f"({sampler})"):
            found["sampler"] = {sampler}
    if not is_ratio and heading.endswith((" with reuse", " without")):
        found["reuse"] = {str(heading.endswith(" with reuse"))}
    if (at := _AT.search(heading)) and at[1] in known.get("iterations", ()):
        found["iterations"] = {at[1]}
    return found


def _labels(known: Wanted, text: str) -> set[str]:
    """The contenders that a text names; of "DiT, cached" and "DiT", the longer."""
    found: set[str] = set()
    for label in sorted(known.get("label", ()), key=len, reverse=True):
        pattern = re.compile(rf"(?<![\w-]){re.escape(label)}(?![\w-])")
        if pattern.search(text):
            found.add(label)
            text = pattern.sub("", text)
    return found
