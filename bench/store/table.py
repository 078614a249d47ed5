"""Records as one table: a row for each record, columns as the tables name them. results/README.md explains each."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.spec.cells import CELL_COLUMNS
from bench.spec.contenders import Suite
from bench.spec.grids.membership import Membership, memberships
from bench.spec.measurements import AnyCell
from bench.spec.metrics import METRICS
from bench.spec.selection import Selection
from bench.spec.suites import SUITES, own_suite
from bench.store.own_images import read_own
from bench.store.prices import resolved
from bench.store.records import Record, Store
from bench.system.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd

ABSENT, OUTDATED = "absent", "outdated"  # states beside those of records: no record, or of weights that were replaced
QUALITY = {name: "fd" if name == "fid" else name for name in METRICS}  # in other features than Inception's it is no FID
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
            known |= memberships(suite, resolved(Selection(), store, suite))
    rows = [_row(record.cell, record, store, known) for record in records]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {name: "boolean" if name in FLAGS else float for name in COLUMNS if name not in TEXTS}
    return frame.astype(kinds)


def as_csv(folder: Path | str) -> str:
    """The content of records.csv: that table. Errors as in `load`."""
    return load(folder).to_csv(index=False, float_format="%.15g")


def write_rows(file: IO[str], cells: Iterable[AnyCell], store: Store, known: Mapping[str, Membership]) -> None:
    """Write the rows of cells as CSV, in their order, with or without a record. `known`: as `memberships` returns."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(cell.spec(), store.read(cell), store, known) for cell in cells)


def _row(
    spec: Mapping[str, Any], record: Record | None, store: Store, known: Mapping[str, Membership]
) -> dict[str, Any]:
    """The row of a cell's description (`Cell.spec`) and its record."""
    key, member = spec["key"], known.get(spec["key"], Membership())
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
            "path": f"records/{key}.json",
        }
    return {name: _value(name, found.get(name)) for name in COLUMNS}


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
    metrics = lost if record.status == "diverged" else record.metrics
    return record.cost | {
        **{column: metrics[name] for name, column in QUALITY.items() if name in metrics},
        **{column: record.timing[name] for name, column in TIMES.items() if name in record.timing},
        "hardware": record.environment.get("hardware"),
        "finished_at": record.finished_at,
    }


def _value(name: str, value: Any) -> Any:
    """A value as the table has it: what a cell has several of, such as the schedules of a speed cell, is left out."""
    if value is None or value == "" or isinstance(value, list):
        return "" if name in TEXTS else None
    return value
