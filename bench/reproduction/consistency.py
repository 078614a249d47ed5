"""What must agree within a results folder, without sampling: records, their keys, records.csv and kept weights."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.spec.cells import spec_hash
from bench.spec.contenders import Suite
from bench.spec.grids.catalogue import get_cells
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection
from bench.store.records import Record, Store
from bench.store.table import as_csv, load
from bench.system.errors import BadInputError
from bench.system.files import read_if_there, sha256_of
from models.pretrained import CONFIG, WEIGHTS

_IDENTITY = (  # names of a cell's identity that its record has, if the cell borrows no weights
    "run", "measure", "budget", "n_pre", "iterations", "n_post", "steps", "sampler", "solver", "reuse", "allocation",
    "seed", "protocol",
)  # fmt: skip


def cells_by_key(suite: Suite, selection: Selection) -> dict[str, AnyCell]:
    """The cells of all grids of a suite; of a grid that has none for the selection, none."""
    found: dict[str, AnyCell] = {}
    for name in GRIDS:
        with suppress(BadInputError):
            found |= {cell.key: cell for cell in get_cells(name, suite, selection)}
    return found


def contradictions(store: Store, cells: Mapping[str, AnyCell]) -> Iterator[str]:
    """What does not agree, a line each. BadInputError if a record, summary or description is damaged.

    Args:
        store: the results.
        cells: cells of the suite's grids, by key. A record of another cell is checked as far as it describes itself.
    """
    records = list(store.records())
    for record in records:
        if said := _misnamed(record, cells.get(record.key)):
            yield f"record {record.key}: {said}"
    yield from _table(store)
    for path in sorted((store.root / "training").glob("*.json")):
        summary = store.summary(path.stem)
        if summary is not None and not path.stem.endswith(spec_hash(summary.get("run", {}), 8)):
            yield f"training {path.name}: the run that it describes has another name"
    for folder in sorted(path for path in (store.root / "weights").glob("*") if path.is_dir()):
        yield from _weights(folder, store, records)


def _misnamed(record: Record, cell: AnyCell | None) -> str:
    """Why a record's description is not that of its key; empty if it is, or if its record does not tell."""
    found = record.cell
    if cell is not None:
        expected = json.loads(json.dumps(cell.spec()))
        wrong = [name for name in expected if name in found and found[name] != expected[name]]
        return f"its {wrong[0]} is {found[wrong[0]]}, that of its key is {expected[wrong[0]]}" if wrong else ""
    if "run" not in found or found["model"] != found["run"]["model"]:
        return ""  # a measurement without weights, or a network that borrows them
    key = spec_hash({name: found[name] for name in _IDENTITY})
    return "" if key == record.key else f"what it describes has the key {key}"


def _table(store: Store) -> Iterator[str]:
    """Where records.csv, if there is one, is not the table of the records."""
    content = read_if_there(store.root / "records.csv")
    if content is None or content.decode(errors="replace") == (made := as_csv(load(store.root))):
        return
    rows, expected = (
        {row.get("key", ""): row for row in csv.DictReader(io.StringIO(text))}
        for text in (content.decode(errors="replace"), made)
    )
    for key in sorted(expected.keys() | rows.keys()):
        if key not in rows or key not in expected:
            yield f"records.csv: {key} has {'no row' if key not in rows else 'a row but no record'}"
            continue
        for name, value in expected[key].items():
            if (there := rows[key].get(name)) != value:
                yield f"records.csv: {name} of {key} is {there or 'empty'}, in its record it is {value or 'empty'}"


def _weights(folder: Path, store: Store, records: list[Record]) -> Iterator[str]:
    """Where kept weights, their description, their summary and their records name different digests."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        yield f"weights/{folder.name}: {CONFIG} or {WEIGHTS} is not there"
        return
    digest = sha256_of(folder / WEIGHTS)
    for what, named in (("training summary", store.summary(folder.name)), (CONFIG, _described(folder / CONFIG))):
        if named is None:
            yield f"weights/{folder.name}: there is no {what}"
        elif (there := named.get("digest", named.get("sha256"))) != digest:
            yield f"weights/{folder.name}: the file's digest is {digest[:12]}, its {what} names {str(there)[:12]}"
    own = [record for record in records if record.cell["train_run"] == folder.name]
    if others := [record.key for record in own if record.inputs.get("checkpoint") != digest]:
        yield f"weights/{folder.name}: {len(others)} of {len(own)} records are of other weights, such as {others[0]}"


def _described(path: Path) -> dict[str, Any]:
    try:
        training: dict[str, Any] = json.loads(path.read_text())["training"]
        _ = training["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is damaged ({error!r}): restore it, or keep the weights anew") from error
    return training
