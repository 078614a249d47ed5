"""One cell -> one record: quality, images or convergence of its samples, cost and time. Every cell ends in a status."""

from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import torch

from bench.evaluation.convergence import residual_series
from bench.evaluation.quality import QualityEvaluator, StoppedError
from bench.profiling.footprint import measure_footprint
from bench.profiling.speed import measure_speed
from bench.sampling.drawing import DivergedError, Drawer, spent
from bench.spec.assets import Assets
from bench.spec.cells import Cell
from bench.spec.measurements import AnyCell, Floor, Footprint
from bench.store.partial import forget
from bench.store.records import Record, Store
from bench.system.environment import can_compile, describe, hardware_name, precisions
from bench.system.errors import BadInputError
from bench.system.execution import EAGER, Execution
from bench.system.files import utc_now


class SkippedError(Exception):
    """What the machine lacks."""


def make_record(
    cell: AnyCell,
    device: torch.device,
    checkpoint_digest: str,
    status: str,
    reason: str = "",
    execution: Execution = EAGER,
    trained_on: dict[str, str] | None = None,
    **measured: Any,
) -> Record:
    """A cell's record, dated now and here.

    `trained_on`: digests of what its run learned from; `measured`: metrics, cost, series, timing, samples_digest.
    """
    spec = asdict(cell)
    if isinstance(cell, Cell):
        spec = {"protocol": spec["protocol"], "run": cell.run.identity()}
    return Record(
        key=cell.key,
        status=status,
        reason=reason,
        cell=cell.row() | spec,
        inputs=inputs_of(cell, checkpoint_digest, trained_on),
        environment=describe(device) | {"execution": str(execution)},
        finished_at=utc_now(),
        **measured,
    )


def inputs_of(cell: AnyCell, checkpoint_digest: str, trained_on: dict[str, str] | None = None) -> dict[str, str]:
    """Digests of what a cell's record is made from. Cells without weights have none."""
    if not isinstance(cell, Cell):
        return {}
    protocol = cell.protocol
    digests = {"reference": protocol.reference_digest, "extractor": protocol.extractor_digest}
    return {"checkpoint": checkpoint_digest} | digests | (trained_on or {})


class Evaluator:
    """Evaluates cells of one suite on one device; reference features and the last weights are kept between cells.

    Args:
        store: where checkpoints are and records go.
        device: where to sample.
        workers: processes that share the machine meanwhile, for the record's timing.
        execution: how networks are run.
        assets: where datasets are, and a latent suite's autoencoder, reference statistics and extractor.
        stopping: asked between batches whether to stop.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        workers: int = 1,
        execution: Execution = EAGER,
        assets: Assets = Assets(),  # noqa: B008, it is frozen
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._device, self._execution = store, device, execution
        self._drawer = Drawer(store, device, execution, assets)
        self._quality = QualityEvaluator(store, device, execution, workers, assets, self._drawer, stopping)

    def evaluate(self, cell: AnyCell) -> Record:
        """Evaluate a cell and write its record, whatever becomes of it.

        Raises:
            BadInputError: its checkpoint is unusable.
            StoppedError: it was stopped; there is no record yet.
        """
        digest = self._drawer.generator.denoiser(cell)[1] if isinstance(cell, Cell) else ""
        trained_on = self._trained_on(cell)
        measured: dict[str, Any] = {}
        status, reason = "done", ""
        try:  # every cell ends in a record
            measured = self._measure(cell, inputs_of(cell, digest, trained_on))
        except DivergedError as error:
            status, reason = "diverged", str(error)
        except SkippedError as error:
            status, reason = "skipped", str(error)
        except torch.OutOfMemoryError as error:
            status, reason = "oom", str(error).splitlines()[0]
        except MemoryError:
            status, reason = "oom", "the host's memory did not suffice"
        except (BadInputError, OSError, StoppedError):
            raise  # nothing that is the cell's
        except Exception as error:
            status, reason = "error", f"{type(error).__name__}: {error}"
        record = make_record(cell, self._device, digest, status, reason, self._execution, trained_on, **measured)
        self._store.write(record)
        if status in ("done", "diverged"):
            forget(self._store.partial_folder(cell))
        return record

    def _measure(self, cell: AnyCell, inputs: dict[str, str]) -> dict[str, Any]:
        if isinstance(cell, Footprint):
            return {"metrics": measure_footprint(cell, self._device)}
        if isinstance(cell, Floor):
            return {"metrics": self._quality.floor(cell)}
        if not isinstance(cell, Cell):
            if cell.precision not in precisions(self._device):
                raise SkippedError(f"{self._device.type} does not compute in {cell.precision} here")
            if cell.compiled and not can_compile(self._device):
                raise SkippedError("torch.compile needs a C++ compiler, and there is none")
            return measure_speed(cell, self._device)
        precision = cell.protocol.precision
        if self._device.type == "cuda" and precision not in precisions(self._device):
            raise SkippedError(f"{hardware_name(self._device)} does not compute in {precision}")
        training = self._store.read_training(cell.run)
        if training is not None and training["status"] == "diverged":
            raise DivergedError(f"its training diverged at step {training['step']}")
        if cell.measure == "quality":
            return self._quality.samples(cell, inputs)
        return self._looked_at(cell)

    def _looked_at(self, cell: Cell) -> dict[str, Any]:
        """Images that are kept, or residuals of the fixed-point iteration."""
        recorded = cell.measure == "convergence"
        batches = list(self._drawer.batches(cell, self._drawer.generator.solver(cell, recorded)))
        images, taken = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "taken"))
        series = {"residuals": residual_series([batch.residuals for batch in batches])} if recorded else {}
        if not recorded:
            self._store.write_images(cell, images.numpy())
        return {
            "series": series,
            "cost": spent(cell, taken, sum(batch.executed for batch in batches)),
            "samples_digest": sha256(images.numpy().tobytes()).hexdigest(),
        }

    def _trained_on(self, cell: AnyCell) -> dict[str, str]:
        """Digests of the latents and the autoencoder behind the cell's weights, in a latent suite."""
        training = None if cell.run is None else self._store.read_training(cell.run)
        if training is None or "images" not in training:
            return {}
        return {name: training[name] for name in ("data", "images", "vae")}
