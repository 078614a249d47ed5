"""Which cells are sampled again: by the beginning of their keys, or by hash."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from bench.spec.cells import Cell, TrainingRun
from bench.spec.measurements import AnyCell
from bench.store.records import Record, Store
from bench.system.errors import BadInputError
from bench.system.files import sha256_of
from models.pretrained import CONFIG, WEIGHTS


@dataclass(frozen=True)
class Kept:
    """A cell of samples, and its kept record."""

    cell: Cell
    record: Record

    @property
    def seconds(self) -> float:
        """What its evaluation took when it was recorded."""
        return self.record.timing.get("total_s", 0.0)


def with_weights(store: Store, cells: Iterable[AnyCell]) -> list[TrainingRun]:
    """The runs of cells whose weights are kept and are those of the run's training."""
    runs = dict.fromkeys(cell.run for cell in cells if cell.run is not None)
    found = []
    for run in runs:
        training, folder = store.read_training(run), store.weights_folder(run)
        if training is not None and (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            found += [run] if sha256_of(folder / WEIGHTS) == training["digest"] else []
    return found


def measured(store: Store, cells: Mapping[str, AnyCell], runs: Iterable[TrainingRun]) -> list[Kept]:
    """The quality cells of these runs that have a current `done` record, in the order of their keys."""
    wanted, found = set(runs), []
    for key in sorted(cells):
        cell = cells[key]
        if isinstance(cell, Cell) and cell.measure == "quality" and cell.run in wanted:
            record = store.current(cell)
            if record is not None and record.status == "done":
                found.append(Kept(cell, record))
    return found


def by_key(kept: Sequence[Kept], starts: Iterable[str]) -> list[Kept]:
    """Those whose keys begin like this. BadInputError if there is none for a beginning."""
    for start in (starts := tuple(starts)):
        if not any(one.cell.key.startswith(start) for one in kept):
            raise BadInputError(
                f"--only {start}: no such key among {len(kept)} quality cells with records and kept weights"
            )
    return [one for one in kept if one.cell.key.startswith(starts)]


def by_hash(kept: Sequence[Kept], count: int, choice: int) -> list[Kept]:
    """Those with the smallest SHA-256 of "<choice> <key>": a draw that anybody can repeat, blind to their numbers."""
    return sorted(kept, key=lambda one: sha256(f"{choice} {one.cell.key}".encode()).hexdigest())[:count]
