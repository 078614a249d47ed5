"""Records on disk: one JSON file each, written whole (temporary file, then rename). No torch.

results/<suite>/records/<cell key>.json      kept
results/<suite>/images/<cell key>.png        kept: images of cells whose samples are shown
results/<suite>/training/<run>.{json,jsonl}  kept: summary (digest, seconds, steps) and metrics log
results/<suite>/weights/<run>/               kept, of some runs: averaged weights (`bench.store.weights`)
results/<suite>/checkpoints/<run>/           not kept by git
results/<suite>/partial/<cell key>/          not kept by git: cells under way
results/<suite>/{tables,figures}/            drawn from the records
"""

import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec.cells import Cell, TrainingRun
from bench.spec.measurements import AnyCell
from bench.store.second import with_distance
from bench.system.errors import BadInputError
from bench.system.files import check_writable, read_bytes, read_if_there, write_json, write_whole
from models.pretrained import CONFIG

if TYPE_CHECKING:
    import numpy as np

NAMED = {"suite", "measure", "model", "seed", "train_run", "key"}  # of the cell, in every record
STATUSES = ("done", "diverged", "oom", "timeout", "error", "skipped")


@dataclass(frozen=True)
class Record:
    """The outcome of a cell.

    Attributes:
        key: the cell's.
        status: one of STATUSES.
        reason: explains a status other than `done`.
        cell: the cell's line of `--list`, its protocol and its training run.
        inputs: digests of checkpoint, reference statistics and extractor.
        metrics: quality, where `fid` is the Frechet distance in the extractor's features, and a second extractor's has
            a name of its own; or bytes, or seconds.
        cost: block passes, injections, MACs per image, as counted; `comparable` is false if they exceed the budget.
        series: longer measurements: `residuals` by batch, step and iteration.
        timing: seconds and rates, with the numbers of threads and workers.
        samples_digest: SHA-256 of the 8-bit samples; after "each:", SHA-256 of the concatenated digests of the samples.
        environment: commit, versions, device.
        finished_at: UTC, ISO 8601.
    """

    key: str
    status: str
    reason: str
    cell: dict[str, Any]
    inputs: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)
    samples_digest: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    finished_at: str = ""


class Store:
    """The results of one suite under a results folder. Making one writes nothing."""

    def __init__(self, results: Path, suite: str) -> None:
        self.root = Path(results) / suite

    def record_path(self, cell: AnyCell) -> Path:
        return self.root / "records" / f"{cell.key}.json"

    def lock_path(self, cell: AnyCell) -> Path:
        """The process that evaluates the cell holds this lock."""
        return self.root / "locks" / f"{cell.key}.lock"

    def partial_folder(self, cell: AnyCell) -> Path:
        """Finished batches of the cell while it is under way (`bench.store.finished_batches`)."""
        return self.root / "partial" / cell.key

    def fraction_done(self, cell: AnyCell) -> float:
        """Share of the batches of a cell under way that are finished, 0 to 1."""
        if not isinstance(cell, Cell):
            return 0.0
        batches = -(-cell.protocol.samples // cell.protocol.batch_size)
        return min(1.0, len(self.batches_done(cell)) / batches)

    def batches_done(self, cell: AnyCell) -> set[tuple[str, int]]:
        """Name and time of writing (ns) of each finished batch of a cell under way; none if they are being deleted."""
        try:
            with os.scandir(self.partial_folder(cell)) as found:
                return {(entry.name, entry.stat().st_mtime_ns) for entry in found if entry.name.startswith("batch-")}
        except OSError:
            return set()

    def images_path(self, cell: AnyCell) -> Path:
        return self._images_path(cell.key)

    def _images_path(self, key: str) -> Path:
        return self.root / "images" / f"{key}.png"

    def checkpoint_folder(self, run: TrainingRun) -> Path:
        return self.root / "checkpoints" / run.name

    def weights_folder(self, run: TrainingRun) -> Path:
        """Where its averaged weights are kept (`bench.store.weights`); of most runs they are not."""
        return self.root / "weights" / run.name

    def network_folder(self, run: TrainingRun) -> Path | None:
        """The folder of a finished run's network that `models.pretrained` reads; None if its weights are not here."""
        places = (self.checkpoint_folder(run), self.weights_folder(run))
        return next((folder for folder in places if (folder / CONFIG).is_file()), None)

    def network_folders(self) -> dict[Path, tuple[str, int]]:
        """A folder of each network that is here, with contender and seed. BadInputError if one is damaged."""
        found = {}
        paths = [path for place in ("weights", "checkpoints") for path in self.root.glob(f"{place}/*/{CONFIG}")]
        for path in sorted({path.parent.name: path for path in paths}.values()):
            try:
                training = json.loads(read_bytes(path))["training"]
                found[path.parent] = training["contender"], training["seed"]
            except (ValueError, KeyError, TypeError) as error:
                raise BadInputError(f"{path} is damaged ({error!r}): delete it") from error
        return found

    def training_path(self, run: TrainingRun) -> Path:
        return self._training_path(run.name)

    def _training_path(self, run_name: str) -> Path:
        return self.root / "training" / f"{run_name}.json"

    def has_weights(self, run: TrainingRun) -> bool:
        """Whether there is a checkpoint of the run here, ended or not, or its weights are kept."""
        return any(self.checkpoint_folder(run).glob("step-*")) or (self.weights_folder(run) / CONFIG).is_file()

    def metrics_log_path(self, run: TrainingRun) -> Path:
        return self.root / "training" / f"{run.name}.jsonl"

    def read(self, cell: AnyCell) -> Record | None:
        """The cell's record, even of older weights; None if there is none. BadInputError if it is damaged."""
        return _read(self.record_path(cell))

    def records(self) -> Iterator[Record]:
        """All records, even of older weights, sorted by key. BadInputError if one is damaged."""
        found = (_read(path) for path in sorted((self.root / "records").glob("*.json")))
        return (record for record in found if record is not None)

    def read_training(self, run: TrainingRun) -> dict[str, Any] | None:
        """Summary of a training: digest, status, step, elapsed_s ...; None if it has not ended yet."""
        return self.summary(run.name)

    def summary(self, run_name: str) -> dict[str, Any] | None:
        """As `read_training`, of the run of this name."""
        path = self._training_path(run_name)
        if (content := read_if_there(path)) is None:
            return None
        try:
            summary = json.loads(content)
            _ = summary["digest"], summary["status"], summary["step"], summary["elapsed_s"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"{path} is damaged ({error!r}): delete it; it is written again from the checkpoint"
            ) from error
        return summary

    def current(self, cell: AnyCell) -> Record | None:
        """The cell's record, if it is of the weights of the run's last training and its images, if any, exist.

        If a second extractor measured the same samples too, the record that has its distance comes first.
        """
        for fuller in with_distance(cell, self.root):
            record = self.read(fuller)
            if record is not None and record.status in ("done", "diverged") and self.is_current(record):
                return record
        record = self.read(cell)
        return record if record is not None and self.is_current(record) else None

    def is_current(self, record: Record) -> bool:
        """Whether a record is of the weights of its run's last training, and its images, if any, exist."""
        if not (run_name := record.cell["train_run"]):
            return True
        training = self.summary(run_name)
        if training is None or record.inputs.get("checkpoint") != training["digest"]:
            return False
        shown = record.status == "done" and record.cell["measure"] == "images"
        return not shown or self._images_path(record.key).exists()

    def write_images(self, cell: Cell, images: "np.ndarray") -> None:
        """Keep images, uint8 (count, channels, size, size), one below the other in one lossless PNG."""
        from PIL import Image

        count, channels, height, width = images.shape
        column = images.transpose(0, 2, 3, 1).reshape(count * height, width, channels)
        picture = Image.fromarray(column.squeeze(-1) if channels == 1 else column)
        write_whole(self.images_path(cell), lambda file: picture.save(file, "png", optimize=True))

    def read_images(self, cell: Cell, record: Record) -> "np.ndarray":
        """The kept images, uint8 (count, channels, size, size). BadInputError if they are not those of the record."""
        import numpy as np
        from PIL import Image

        path = self.images_path(cell)
        content = read_bytes(path)
        try:
            column = np.asarray(Image.open(io.BytesIO(content)))
            images = column.reshape(-1, column.shape[1], column.shape[1], 1 if column.ndim == 2 else column.shape[2])
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        except (OSError, ValueError) as error:
            raise BadInputError(f"images {path} are damaged ({error}): delete them to sample them again") from error
        if sha256(images.tobytes()).hexdigest() != record.samples_digest:
            raise BadInputError(f"images {path} are not those of their record: delete them to sample them again")
        return images

    def write(self, record: Record) -> Path:
        path = self.root / "records" / f"{record.key}.json"
        write_json(path, vars(record))
        return path

    def check_writable(self) -> None:
        """Check, before the work, that results can be written; leaves no file. BadInputError if they cannot."""
        check_writable(self.root, f"--results {self.root.parent}")


def _read(path: Path) -> Record | None:
    """The record in a file; None if there is none. BadInputError if it is damaged."""
    if (content := read_if_there(path)) is None:
        return None
    try:
        record = Record(**json.loads(content))
        if record.key != path.stem or record.status not in STATUSES:
            raise ValueError("key or status does not fit")
        if lacking := NAMED - record.cell.keys():
            raise ValueError(f"its cell lacks {', '.join(sorted(lacking))}")
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"record {path} is damaged ({error}): delete it to have the cell evaluated again"
        ) from error
    return record


def missing(store: Store, cells: Iterable[AnyCell]) -> list[AnyCell]:
    """The cells that have no `done` record made from their current weights."""
    return [cell for cell in cells if (record := store.current(cell)) is None or record.status != "done"]
