"""Records on disk: one JSON file each, written whole (temporary file, then rename). No torch.

results/<suite>/records/<cell key>.json      kept
results/<suite>/training/<run>.{json,jsonl}  kept: what was trained (digest, seconds, steps) and its metrics log
results/<suite>/checkpoints/<run>/           not kept by git
results/<suite>/{tables,figures}/            drawn from the records
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench.cells import Cell, TrainingRun
from bench.errors import BadInputError

STATUSES = ("done", "diverged", "oom", "timeout", "error", "skipped")


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that readers, other tasks on NFS included, see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, keys in the order given."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


@dataclass(frozen=True)
class Record:
    """What came of a cell.

    Attributes:
        key: the cell's.
        status: one of STATUSES.
        reason: why, where the status is not `done`.
        cell: the cell's line of `--list`, its protocol and its training run.
        inputs: digests of checkpoint, reference statistics and extractor.
        metrics: quality; `fid` is the Frechet distance in the extractor's features.
        cost: block passes, injections, MACs per image.
        timing: seconds and rates, with the threads and workers that they were taken under.
        samples_digest: SHA-256 of the 8-bit samples.
        environment: commit, versions, device.
        finished_at: UTC, ISO 8601.
    """

    key: str
    status: str
    reason: str
    cell: dict[str, Any]
    inputs: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)
    samples_digest: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    finished_at: str = ""


class Store:
    """The results of one suite under a results folder. Making one writes nothing."""

    def __init__(self, results: Path, suite: str) -> None:
        self.root = Path(results) / suite

    def record_path(self, cell: Cell) -> Path:
        return self.root / "records" / f"{cell.key}.json"

    def checkpoint_folder(self, run: TrainingRun) -> Path:
        return self.root / "checkpoints" / run.name

    def training_path(self, run: TrainingRun) -> Path:
        return self.root / "training" / f"{run.name}.json"

    def has_weights(self, run: TrainingRun) -> bool:
        """Whether there is a checkpoint of the run here, ended or not."""
        return any(self.checkpoint_folder(run).glob("step-*"))

    def metrics_log_path(self, run: TrainingRun) -> Path:
        return self.root / "training" / f"{run.name}.jsonl"

    def read(self, cell: Cell) -> Record | None:
        """The cell's record, whatever it was made from; None if there is none. BadInputError if it is damaged."""
        path = self.record_path(cell)
        if not path.exists():
            return None
        try:
            record = Record(**json.loads(path.read_text()))
            if record.key != cell.key or record.status not in STATUSES:
                raise ValueError("key or status does not fit")
        except (ValueError, TypeError) as error:
            raise BadInputError(
                f"record {path} is damaged ({error}): delete it to have the cell evaluated again"
            ) from error
        return record

    def read_training(self, run: TrainingRun) -> dict[str, Any] | None:
        """What is known of a training: digest, status, step, elapsed_s ...; None if it did not end yet."""
        path = self.training_path(run)
        if not path.exists():
            return None
        try:
            summary = json.loads(path.read_text())
            _ = summary["digest"], summary["status"], summary["step"], summary["elapsed_s"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"{path} is damaged ({error!r}): delete it; it is written again from the checkpoint"
            ) from error
        return summary

    def current(self, cell: Cell) -> Record | None:
        """The cell's record, if it was made from the weights that the run ended with last."""
        record, training = self.read(cell), self.read_training(cell.run)
        if record is None or training is None or record.inputs.get("checkpoint") != training["digest"]:
            return None
        return record

    def write(self, record: Record) -> Path:
        path = self.root / "records" / f"{record.key}.json"
        write_json(path, vars(record))
        return path

    def check_writable(self) -> None:
        """Find out before the work whether results can be written; leaves nothing behind. BadInputError if not."""
        existing = self.root
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        try:
            if not existing.is_dir():
                raise NotADirectoryError(f"{existing} is not a folder")
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise BadInputError(
                f"--results {self.root.parent}: cannot write there ({error.strerror or error}); name another folder"
            ) from error


def missing(store: Store, cells: Iterable[Cell]) -> list[Cell]:
    """The cells that have no `done` record made from their current weights."""
    return [cell for cell in cells if (record := store.current(cell)) is None or record.status != "done"]
