"""One cell -> one record: quality, images or convergence of its samples, cost and time. Every cell ends in a status."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from bench.cells import Cell
from bench.data import load_dataset
from bench.environment import can_compile, describe, precisions
from bench.errors import BadInputError
from bench.execution import EAGER, Execution
from bench.generate import Generator, Observer
from bench.measurements import AnyCell, Footprint
from bench.metrics.convergence import residual_series
from bench.metrics.cost import forward_macs
from bench.metrics.fid import QualityMeter
from bench.metrics.footprint import measure_footprint
from bench.metrics.speed import measure_speed
from bench.metrics.throughput import median_seconds
from bench.store import Record, Store
from models.autoencoder import PixelAutoencoder

OVERSPEND = 1.01  # times what constant allocation spends: what a cell may spend and still be compared


class DivergedError(Exception):
    """Samples that are not finite."""


class SkippedError(Exception):
    """What the machine lacks."""


def make_record(
    cell: AnyCell,
    device: torch.device,
    checkpoint_digest: str,
    status: str,
    reason: str = "",
    execution: Execution = EAGER,
    **measured: Any,
) -> Record:
    """A cell's record, dated now and here. `measured`: metrics, cost, series, timing, samples_digest."""
    if not isinstance(cell, Cell):
        spec, inputs = asdict(cell), {}
    else:
        spec = {"protocol": asdict(cell.protocol), "run": cell.run.identity()}
        inputs = {
            "checkpoint": checkpoint_digest,
            "reference": cell.protocol.reference_digest,
            "extractor": cell.protocol.extractor_digest,
        }
    return Record(
        key=cell.key,
        status=status,
        reason=reason,
        cell=cell.row() | spec,
        inputs=inputs,
        environment=describe(device) | {"execution": str(execution)},
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **measured,
    )


class Evaluator:
    """Evaluates cells of one suite on one device; reference features and the last weights are kept between cells.

    Args:
        store: where checkpoints are and records go.
        device: where to sample.
        workers: processes that share the machine meanwhile, for the record's timing.
        execution: how networks are run.
    """

    def __init__(self, store: Store, device: torch.device, workers: int = 1, execution: Execution = EAGER) -> None:
        self._store, self._device, self._workers, self._execution = store, device, workers, execution
        self._meters: dict[tuple[str, str], QualityMeter] = {}
        self._generator = Generator(store, device, execution)

    def evaluate(self, cell: AnyCell) -> Record:
        """Evaluate a cell and write its record, whatever becomes of it. BadInputError if its checkpoint is unusable."""
        digest = self._generator.denoiser(cell)[1] if isinstance(cell, Cell) else ""
        measured: dict[str, Any] = {}
        status, reason = "done", ""
        try:  # every cell ends in a record
            measured = self._measure(cell)
        except DivergedError as error:
            status, reason = "diverged", str(error)
        except SkippedError as error:
            status, reason = "skipped", str(error)
        except torch.OutOfMemoryError as error:
            status, reason = "oom", str(error).splitlines()[0]
        except MemoryError:
            status, reason = "oom", "the host's memory did not suffice"
        except (BadInputError, OSError):
            raise  # nothing that is the cell's
        except Exception as error:
            status, reason = "error", f"{type(error).__name__}: {error}"
        record = make_record(cell, self._device, digest, status, reason, self._execution, **measured)
        self._store.write(record)
        return record

    def _measure(self, cell: AnyCell) -> dict[str, Any]:
        if isinstance(cell, Footprint):
            return {"metrics": measure_footprint(cell, self._device)}
        if not isinstance(cell, Cell):
            if cell.precision not in precisions(self._device):
                raise SkippedError(f"{self._device.type} does not compute in {cell.precision} here")
            if cell.compiled and not can_compile(self._device):
                raise SkippedError("torch.compile needs a C++ compiler, and there is none")
            return measure_speed(cell, self._device)
        training = self._store.read_training(cell.run)
        if training is not None and training["status"] == "diverged":
            raise DivergedError(f"its training diverged at step {training['step']}")
        return {"quality": self._quality, "images": self._images, "convergence": self._convergence}[cell.measure](cell)

    def _quality(self, cell: Cell) -> dict[str, Any]:
        started = time.perf_counter()
        compile_s = self._generator.warm_up(cell)
        compiled = time.perf_counter()
        make = self._generator.solver(cell)
        search_s = time.perf_counter() - compiled
        latency_s = median_seconds(lambda: self._generator.sample(cell, range(1), make), self._device)
        observer = Observer(make)
        generated, sampling_s = self._generate(cell, observer)
        protocol = cell.protocol
        quality = self._meter(cell).measure(generated, protocol.kid_subsets, protocol.kid_subset_size)
        if not all(math.isfinite(value) for value in asdict(quality).values()):
            raise DivergedError(f"distances are not finite: {quality}")
        return {
            "metrics": asdict(quality),
            "cost": self._cost(cell, observer),
            "timing": {
                "sampling_s": sampling_s,
                "images_per_s": len(generated) / sampling_s,
                "latency_s": latency_s,
                "search_s": search_s if cell.allocation == "adaptive" else 0.0,
                "compile_s": compile_s,
                "total_s": time.perf_counter() - started,
                "threads": torch.get_num_threads(),
                "workers": self._workers,
            },
            "samples_digest": sha256(generated.numpy().tobytes()).hexdigest(),
        }

    def _images(self, cell: Cell) -> dict[str, Any]:
        observer = Observer(self._generator.solver(cell))
        generated, _ = self._generate(cell, observer)
        self._store.write_images(cell, generated.numpy())
        digest = sha256(generated.numpy().tobytes()).hexdigest()
        return {"cost": self._cost(cell, observer), "samples_digest": digest}

    def _convergence(self, cell: Cell) -> dict[str, Any]:
        histories: list[list[Tensor]] = []
        observer = Observer(self._generator.solver(cell, record_residuals=True))

        def finished() -> None:
            histories.append(observer.residuals)
            observer.residuals = []

        generated, _ = self._generate(cell, observer, finished)
        digest = sha256(generated.numpy().tobytes()).hexdigest()
        series = {"residuals": residual_series(histories)}
        return {"series": series, "cost": self._cost(cell, observer), "samples_digest": digest}

    def _generate(
        self, cell: Cell, observer: Observer, on_batch: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, float]:
        """All images of a cell, uint8 (samples, channels, size, size), and the seconds of sampling them."""
        codec, images, sampling_s = PixelAutoencoder(), [], 0.0
        taken: list[Tensor] = []
        batches = self._generator.batches(cell, observer)
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            batch = batch.cpu()  # waits for the device
            sampling_s += time.perf_counter() - before
            if not batch.isfinite().all():
                raise DivergedError("samples are not finite")
            images.append(codec.decode(batch))
            if observer.taken is not None:
                taken.append(observer.taken)
                observer.taken = None  # the next batch may be smaller
            on_batch()
        if taken:
            observer.taken = torch.cat(taken)
        return torch.cat(images), sampling_s

    def _cost(self, cell: Cell, observer: Observer) -> dict[str, float]:
        """Spent per image, as counted: what its samples took, and what their batches ran meanwhile.

        Guidance's second half of the batch is left out, as in the cell's own account.
        """
        config = cell.run.config
        if not config.implicit or observer.taken is None:
            return {"block_passes": cell.block_passes, "injections": 0, "macs": cell.macs, "comparable": True}
        injections = observer.taken.double().mean().item()
        passes = injections + (cell.n_pre + cell.n_post) * cell.steps
        iteration_macs = forward_macs(config, 1) - forward_macs(config, 0)
        batches = math.ceil(cell.protocol.samples / cell.protocol.batch_size)
        cost = {
            "block_passes": passes,
            "injections": injections,
            "macs": cell.steps * forward_macs(config, 0) + injections * iteration_macs,
        }
        cost = {name: int(value) if value == int(value) else value for name, value in cost.items()}
        executed = observer.executed / batches + (cell.n_pre + cell.n_post) * cell.steps
        return cost | {"executed_block_passes": executed, "comparable": passes <= OVERSPEND * cell.block_passes}

    def _meter(self, cell: Cell) -> QualityMeter:
        dataset, extractor = cell.run.dataset, cell.protocol.extractor
        if (dataset, extractor) not in self._meters:
            reference = load_dataset(dataset).images
            self._meters[dataset, extractor] = QualityMeter(reference, extractor, self._device)
        return self._meters[dataset, extractor]
