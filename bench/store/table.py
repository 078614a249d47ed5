"""Records as one table: a row for each record, columns as the tables name them. results/README.md explains each."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.spec.cells import CELL_COLUMNS
from bench.spec.contenders import Suite
from bench.spec.grids.membership import Membership, memberships
from bench.spec.measurements import AnyCell
from bench.spec.metrics import METRICS, SECOND_METRICS
from bench.spec.selection import Selection
from bench.spec.suites import SUITES, own_suite
from bench.store.own_images import read_own
from bench.store.prices import resolved
from bench.store.records import Record, Store
from bench.store.second import with_second
from bench.system.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd

ABSENT, OUTDATED = "absent", "outdated"  # states beside those of records: no record, or of weights that were replaced
QUALITY = {name: name.replace("fid", "fd") for name in METRICS}  # in other features than Inception's it is no FID
SECOND = [metric.name for metric in SECOND_METRICS.values()]  # columns where a record has them
TIMES = {"sampling_s": "seconds", "images_per_s": "images_per_s", "latency_s": "latency_s"}
COLUMNS = (
    "grids", "accounts", "suite", "measure", "contender", "label", "family", "budget", "n_pre", "iterations", "n_post",
    "steps", "sampler", "solver", "reuse", "reuse_mix", "allocation", "guidance", "samples", "dtype", "unroll", "n_max",
    "m_max", "learning_rate", "train_seconds", "train_steps", "replicate", "train_seed", "sampling_seed", "train_run",
    "block_passes", "macs", "executed_block_passes", "comparable", *QUALITY.values(), *TIMES.values(), "hardware",
    "finished_at", "status", "reason", "path", "key",
)  # fmt: skip
FLAGS = {"reuse", "comparable"}
TEXTS = {
    "grids", "accounts", "suite", "measure", "contender", "label", "family", "sampler", "solver", "allocation", "dtype",
    "unroll", "train_run", "hardware", "finished_at", "status", "reason", "path", "key",
}  # fmt: skip


def load(folder: Path | str) -> "pd.DataFrame":
    """All records of a suite's results folder, such as `results/digits`: a row for each, sorted by key.

    A text that does not apply is empty, a number NaN.

    Raises:
        BadInputError: the folder has no records, or a record is damaged.
    """
    import pandas as pd

    folder = Path(folder)
    store = Store(folder.absolute().parent, folder.absolute().name)
    records = list(store.records())
    if not records:
        raise BadInputError(f"{folder}: no records there; give the folder of a suite, such as results/digits")
    known: dict[str, Membership] = {}
    for name in dict.fromkeys(record.cell["suite"] for record in records):
        if (suite := _suite(name, store)) is not None:
            selection = resolved(Selection(), store, suite)
            known |= memberships(suite, selection)
            if (fuller := with_second(selection, suite, store.root)).second:
                known |= memberships(suite, fuller)
    rows = [_row(record.cell, record, store, known) for record in records]
    columns = _columns(rows)
    kinds = {name: "boolean" if name in FLAGS else float for name in columns if name not in TEXTS}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def as_csv(table: "pd.DataFrame") -> str:
    """The content of records.csv, from the table of `load`."""
    return table.to_csv(index=False, float_format="%.15g")


def write_rows(file: IO[str], cells: Iterable[AnyCell], store: Store, known: Mapping[str, Membership]) -> None:
    """Write the rows of cells as CSV, in their order, with or without a record. `known`: as `memberships` returns."""
    rows = [_row(cell.spec(), store.current(cell) or store.read(cell), store, known) for cell in cells]
    writer = csv.DictWriter(file, _columns(rows), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """COLUMNS, and after the other metrics those of second extractors that a row has."""
    measured = [name for name in SECOND if any(row[name] is not None for row in rows)]
    at = COLUMNS.index([*QUALITY.values()][-1]) + 1
    return [*COLUMNS[:at], *measured, *COLUMNS[at:]]


def _row(
    spec: Mapping[str, Any], record: Record | None, store: Store, known: Mapping[str, Membership]
) -> dict[str, Any]:
    """The row of a cell's description (`Cell.spec`) and its record."""
    member = known.get(spec["key"], Membership())
    run, protocol = spec.get("run", {}), spec.get("protocol", {})
    recipe = run.get("recipe", {})
    found = {name: spec.get(name) for name in CELL_COLUMNS} | {
        "grids": " ".join(member.grids),
        "accounts": " ".join(member.accounts),
        **_contender(spec, _suite(spec["suite"], store)),
        "dtype": protocol.get("precision", spec.get("precision")),
        "learning_rate": recipe.get("learning_rate"),
        "train_seconds": recipe.get("seconds"),
        "train_steps": run.get("steps"),
        "replicate": spec["seed"],
        "sampling_seed": spec["seed"],
        "status": ABSENT,
    }
    if record is not None:
        found |= _measured(record) | {
            "status": record.status if store.is_current(record) else OUTDATED,
            "reason": record.reason,
            "path": f"records/{record.key}.json",
        }
    return {name: _value(name, found.get(name)) for name in (*COLUMNS, *SECOND)}


def _suite(name: str, store: Store) -> Suite | None:
    own = read_own(store.root.parent, name)
    return own_suite(own) if own else SUITES.get(name)


def _contender(spec: Mapping[str, Any], suite: Suite | None) -> dict[str, str]:
    """Name, label and family, as the suite has them; of a contender that it no longer has, as the record has them."""
    name = spec["model"]
    for one in suite.contenders if suite else ():
        if one.name == name:
            return {"contender": name, "label": one.label, "family": one.family.name}
    return {"contender": name, "label": name, "family": spec.get("run", {}).get("config", {}).get("kind", "")}


def _measured(record: Record) -> dict[str, Any]:
    """Metrics, what was spent, and seconds. Distances are infinite if the cell diverged."""
    lost = {name: float("inf") for name, metric in METRICS.items() if metric.lower_is_better}
    if second := record.cell.get("protocol", {}).get("second"):
        lost[SECOND_METRICS[second["name"]].name] = float("inf")
    metrics = lost if record.status == "diverged" else record.metrics
    return record.cost | {
        **{column: metrics[name] for name, column in QUALITY.items() if name in metrics},
        **{name: metrics[name] for name in SECOND if name in metrics},
        **{column: record.timing[name] for name, column in TIMES.items() if name in record.timing},
        "hardware": record.environment.get("hardware"),
        "finished_at": record.finished_at,
    }


def _value(name: str, value: Any) -> Any:
    """A value as the table has it: what a cell has several of, such as the schedules of a speed cell, is left out."""
    if value is None or value == "" or isinstance(value, list):
        return "" if name in TEXTS else None
    return value
