"""One cell -> one record: quality, images or convergence of its samples, cost and time. Every cell ends in a status."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from bench.assets import Assets
from bench.cells import Cell
from bench.codecs import Codec, load_codec
from bench.data import is_latent, load_dataset
from bench.environment import can_compile, describe, precisions
from bench.errors import BadInputError
from bench.execution import EAGER, Execution
from bench.generate import Generator, Observer
from bench.measurements import AnyCell, Footprint
from bench.metrics.convergence import residual_series
from bench.metrics.cost import forward_macs
from bench.metrics.extractor import make_extractor
from bench.metrics.fid import QualityMeter
from bench.metrics.footprint import measure_footprint
from bench.metrics.reference_statistics import ReferenceStatistics, check_extractor, reference_of
from bench.metrics.speed import measure_speed
from bench.metrics.throughput import median_seconds
from bench.references import read_reference
from bench.store import Record, Store, utc_now

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
    trained_on: dict[str, str] | None = None,
    **measured: Any,
) -> Record:
    """A cell's record, dated now and here.

    `trained_on`: digests of what its run learned from; `measured`: metrics, cost, series, timing, samples_digest.
    """
    if not isinstance(cell, Cell):
        spec, inputs = asdict(cell), {}
    else:
        spec = {"protocol": asdict(cell.protocol), "run": cell.run.identity()}
        inputs = {
            "checkpoint": checkpoint_digest,
            "reference": cell.protocol.reference_digest,
            "extractor": cell.protocol.extractor_digest,
            **(trained_on or {}),
        }
    return Record(
        key=cell.key,
        status=status,
        reason=reason,
        cell=cell.row() | spec,
        inputs=inputs,
        environment=describe(device) | {"execution": str(execution)},
        finished_at=utc_now(),
        **measured,
    )


@dataclass(frozen=True)
class Drawn:
    """What drawing a cell's images came to, batch by batch; the images themselves are not kept.

    Attributes:
        digest: SHA-256 of all 8-bit images, one after the other.
        sampling_s, decoding_s, taking_s: seconds of sampling, of decoding, and of who took the images.
    """

    digest: str
    sampling_s: float
    decoding_s: float
    taking_s: float


class Evaluator:
    """Evaluates cells of one suite on one device; reference features and the last weights are kept between cells.

    Args:
        store: where checkpoints are and records go.
        device: where to sample.
        workers: processes that share the machine meanwhile, for the record's timing.
        execution: how networks are run.
        assets: where a latent suite's autoencoder, reference statistics and extractor are.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        workers: int = 1,
        execution: Execution = EAGER,
        assets: Assets = Assets(),  # noqa: B008, it is frozen
    ) -> None:
        self._store, self._device, self._workers, self._execution = store, device, workers, execution
        self._assets = assets
        self._meters: dict[tuple[str, ...], QualityMeter] = {}
        self._codecs: dict[tuple[str, str, str | None], Codec] = {}
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
        record = make_record(
            cell, self._device, digest, status, reason, self._execution, self._trained_on(cell), **measured
        )
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
        measurement = self._meter(cell).start()  # what is missing is to be missed before the work
        compile_s = self._generator.warm_up(cell)
        compiled = time.perf_counter()
        make = self._generator.solver(cell)
        search_s = time.perf_counter() - compiled
        latency_s = median_seconds(lambda: self._generator.sample(cell, range(1), make), self._device)
        observer = Observer(make)
        drawn = self._generate(cell, observer, measurement.add)
        protocol = cell.protocol
        quality = measurement.finish(protocol.kid_subsets, protocol.kid_subset_size)
        if not all(math.isfinite(value) for value in asdict(quality).values()):
            raise DivergedError(f"distances are not finite: {quality}")
        return {
            "metrics": asdict(quality),
            "cost": self._cost(cell, observer),
            "timing": {
                "sampling_s": drawn.sampling_s,
                "decoding_s": drawn.decoding_s,
                "features_s": drawn.taking_s,
                "images_per_s": protocol.samples / drawn.sampling_s,
                "latency_s": latency_s,
                "search_s": search_s if cell.allocation == "adaptive" else 0.0,
                "compile_s": compile_s,
                "total_s": time.perf_counter() - started,
                "threads": torch.get_num_threads(),
                "workers": self._workers,
            },
            "samples_digest": drawn.digest,
        }

    def _images(self, cell: Cell) -> dict[str, Any]:
        observer = Observer(self._generator.solver(cell))
        images: list[Tensor] = []
        drawn = self._generate(cell, observer, images.append)
        self._store.write_images(cell, torch.cat(images).numpy())
        return {"cost": self._cost(cell, observer), "samples_digest": drawn.digest}

    def _convergence(self, cell: Cell) -> dict[str, Any]:
        histories: list[list[Tensor]] = []
        observer = Observer(self._generator.solver(cell, record_residuals=True))

        def take(_: Tensor) -> None:
            histories.append(observer.residuals)
            observer.residuals = []

        drawn = self._generate(cell, observer, take)
        series = {"residuals": residual_series(histories)}
        return {"series": series, "cost": self._cost(cell, observer), "samples_digest": drawn.digest}

    def _generate(self, cell: Cell, observer: Observer, take: Callable[[Tensor], object]) -> Drawn:
        """Draw a cell's images and hand them on, each batch as uint8 (batch, channels, size, size) on the CPU."""
        codec, hasher = self._codec(cell), sha256()
        taken: list[Tensor] = []
        sampling_s = decoding_s = taking_s = 0.0
        batches = self._generator.batches(cell, observer)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            finite = batch.isfinite().all().item()  # waits for the device
            sampled = time.perf_counter()
            if not finite:
                raise DivergedError("samples are not finite")
            images = codec.decode(batch).cpu()
            decoded = time.perf_counter()
            hasher.update(images.numpy().tobytes())
            if observer.taken is not None:
                taken.append(observer.taken)
                observer.taken = None  # the next batch may be smaller
            before = time.perf_counter()
            take(images)
            taking_s += time.perf_counter() - before
            sampling_s, decoding_s = sampling_s + sampled - start, decoding_s + decoded - sampled
        if taken:
            observer.taken = torch.cat(taken)
        return Drawn(hasher.hexdigest(), sampling_s, decoding_s, taking_s)

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

    def _trained_on(self, cell: AnyCell) -> dict[str, str]:
        """Digests of the latents and the autoencoder behind the cell's weights, in a latent suite."""
        training = None if cell.run is None else self._store.read_training(cell.run)
        if training is None or "images" not in training:
            return {}
        return {name: training[name] for name in ("data", "images", "vae")}

    def _meter(self, cell: Cell) -> QualityMeter:
        """The meter of a cell's protocol. BadInputError if reference or extractor are missing, or not those."""
        dataset, protocol = cell.run.dataset, cell.protocol
        key = dataset, protocol.extractor, protocol.reference_digest, protocol.extractor_digest
        if key not in self._meters:
            kept = None
            if is_latent(dataset):
                self._check_images(cell)
                kept = reference_of(protocol, self._assets.prepared, cell.run.suite)
            extractor = make_extractor(protocol.extractor, self._device, self._assets.inception_weights)
            check_extractor(extractor, protocol)
            reference = kept or ReferenceStatistics.from_images(load_dataset(dataset, self._assets.data).images, extractor)
            self._meters[key] = QualityMeter(reference, extractor)
        return self._meters[key]

    def _check_images(self, cell: Cell) -> None:
        """BadInputError if the reference is of other images than the run learned from."""
        images, reference = self._trained_on(cell).get("images"), read_reference(self._store.root)
        if images and reference and images != reference.digest:
            raise BadInputError(
                f"{cell.run.name} was trained on images of digest {images[:12]}, the reference is of "
                f"{reference.digest[:12]}: make one with bench/reference.py from the same images"
            )

    def _codec(self, cell: Cell) -> Codec:
        vae = (self._store.read_training(cell.run) or {}).get("vae")
        key = cell.run.suite, cell.run.dataset, vae
        if key not in self._codecs:
            self._codecs[key] = load_codec(cell.run, self._assets, self._device, vae)
        return self._codecs[key]
