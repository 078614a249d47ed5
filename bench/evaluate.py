"""One cell -> one record: samples over the cell's schedule, quality, cost and time. Every cell ends in a status."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from bench import checkpoint
from bench.cells import Cell
from bench.data import load_dataset
from bench.environment import describe
from bench.errors import BadInputError
from bench.metrics.fid import QualityMeter
from bench.metrics.throughput import median_seconds
from bench.store import Record, Store
from models.allocation import constant
from models.autoencoder import PixelAutoencoder
from models.sampling import Denoiser, Guidance, SampleNoise, Step, make_schedule, sample
from models.schedule import linear_schedule
from models.timesteps import TIMESTEPS, select_timesteps
from models.zoo import build

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class DivergedError(Exception):
    """Samples that are not finite."""


def schedule_of(cell: Cell) -> tuple[Step, ...]:
    """The steps of a cell's sampling run."""
    timesteps = select_timesteps(cell.steps, cell.protocol.spacing, TIMESTEPS)
    return make_schedule(timesteps, {"constant": constant}[cell.allocation](cell.steps, cell.iterations))


def make_record(
    cell: Cell, device: torch.device, checkpoint_digest: str, status: str, reason: str = "", **measured: Any
) -> Record:
    """A cell's record, dated now and here. `measured`: metrics, timing, samples_digest."""
    return Record(
        key=cell.key,
        status=status,
        reason=reason,
        cell=cell.row() | {"protocol": asdict(cell.protocol), "run": cell.run.identity()},
        inputs={
            "checkpoint": checkpoint_digest,
            "reference": cell.protocol.reference_digest,
            "extractor": cell.protocol.extractor_digest,
        },
        cost={"block_passes": cell.block_passes, "injections": cell.injections, "macs": cell.macs},
        environment=describe(device),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **measured,
    )


class Evaluator:
    """Evaluates cells of one suite on one device; reference features and the last weights are kept between cells.

    Args:
        store: where checkpoints are and records go.
        device: where to sample.
        workers: processes that share the machine meanwhile, for the record's timing.
    """

    def __init__(self, store: Store, device: torch.device, workers: int = 1) -> None:
        self._store, self._device, self._workers = store, device, workers
        self._meters: dict[tuple[str, str], QualityMeter] = {}
        self._model: tuple[str, Denoiser, str] | None = None
        self._noise_schedule = linear_schedule(TIMESTEPS)

    def evaluate(self, cell: Cell) -> Record:
        """Evaluate a cell and write its record, whatever becomes of it. BadInputError if its checkpoint is unusable."""
        denoiser, digest = self._denoiser(cell)
        measured: dict[str, Any] = {}
        status, reason = "done", ""
        try:  # every cell ends in a record
            training = self._store.read_training(cell.run)
            if training is not None and training["status"] == "diverged":
                raise DivergedError(f"its training diverged at step {training['step']}")
            measured = self._measure(cell, denoiser)
        except DivergedError as error:
            status, reason = "diverged", str(error)
        except torch.OutOfMemoryError as error:
            status, reason = "oom", str(error).splitlines()[0]
        except MemoryError:
            status, reason = "oom", "the host's memory did not suffice"
        except (BadInputError, OSError):
            raise  # nothing that is the cell's
        except Exception as error:
            status, reason = "error", f"{type(error).__name__}: {error}"
        record = make_record(cell, self._device, digest, status, reason, **measured)
        self._store.write(record)
        return record

    def generate(self, cell: Cell) -> Iterator[Tensor]:
        """The cell's samples in batches (batch, channels, size, size), not clipped; sample i depends on i only."""
        denoiser, _ = self._denoiser(cell)
        for start in range(0, cell.protocol.samples, cell.protocol.batch_size):
            stop = min(start + cell.protocol.batch_size, cell.protocol.samples)
            yield self._sample(cell, denoiser, range(start, stop))

    def _sample(self, cell: Cell, denoiser: Denoiser, indices: range) -> Tensor:
        config, protocol = cell.run.config, cell.protocol
        shape = (config.in_channels, config.input_size, config.input_size)
        labels = torch.tensor([i % max(config.num_classes, 1) for i in indices], device=self._device)
        guidance = None
        if protocol.guidance_scale != 1:
            guidance = Guidance(protocol.guidance_scale, protocol.guidance_channels, config.num_classes)
        with self._autocast(protocol.precision):
            return sample(
                denoiser,
                self._noise_schedule,
                schedule_of(cell),
                labels,
                SampleNoise(cell.seed, indices, shape, self._device),
                sampler=cell.sampler,
                reuse=cell.reuse,
                guidance=guidance,
            )

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        dtype = PRECISIONS[precision]
        return nullcontext() if dtype is None else torch.autocast(self._device.type, dtype=dtype)

    def _measure(self, cell: Cell, denoiser: Denoiser) -> dict[str, Any]:
        started = time.perf_counter()
        latency_s = median_seconds(lambda: self._sample(cell, denoiser, range(1)), self._device)
        codec, images, sampling_s = PixelAutoencoder(), [], 0.0
        batches = self.generate(cell)
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
        generated = torch.cat(images)
        protocol = cell.protocol
        quality = self._meter(cell).measure(generated, protocol.kid_subsets, protocol.kid_subset_size)
        if not all(math.isfinite(value) for value in asdict(quality).values()):
            raise DivergedError(f"distances are not finite: {quality}")
        return {
            "metrics": asdict(quality),
            "timing": {
                "sampling_s": sampling_s,
                "images_per_s": len(generated) / sampling_s,
                "latency_s": latency_s,
                "total_s": time.perf_counter() - started,
                "threads": torch.get_num_threads(),
                "workers": self._workers,
            },
            "samples_digest": sha256(generated.numpy().tobytes()).hexdigest(),
        }

    def _meter(self, cell: Cell) -> QualityMeter:
        dataset, extractor = cell.run.dataset, cell.protocol.extractor
        if (dataset, extractor) not in self._meters:
            reference = load_dataset(dataset).images
            self._meters[dataset, extractor] = QualityMeter(reference, extractor, self._device)
        return self._meters[dataset, extractor]

    def _denoiser(self, cell: Cell) -> tuple[Denoiser, str]:
        if self._model is None or self._model[0] != cell.run.name:
            weights, digest = checkpoint.load_ema(self._store.checkpoint_folder(cell.run), cell.run)
            model = build(cell.run.config)
            try:
                model.load_state_dict(weights)
            except RuntimeError as error:
                raise BadInputError(f"checkpoint of {cell.run.name} does not fit its model: {error}") from error
            self._model = cell.run.name, model.to(self._device).eval(), digest
        return self._model[1], self._model[2]
