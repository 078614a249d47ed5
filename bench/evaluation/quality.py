"""The quality of a cell's samples, which are drawn, decoded and looked at batch by batch: memory is that of a batch.

What is kept of one is written down (`bench.store.partial`), so that an interrupted cell goes on after its last one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from bench.data.pixels import load_dataset, load_held_out
from bench.profiling.peak_memory import PeakMemory
from bench.profiling.timing import median_seconds
from bench.quality.extractor import make_extractor
from bench.quality.meter import Measurement, QualityMeter
from bench.quality.reference_statistics import ReferenceStatistics, check_extractor, reference_of
from bench.sampling.drawing import DivergedError, Drawer, spent
from bench.spec.assets import Assets
from bench.spec.cells import Cell, Protocol
from bench.spec.datasets import is_latent
from bench.spec.measurements import Floor
from bench.store.partial import Part, Partial
from bench.store.records import Store
from bench.store.references import read_reference
from bench.system.environment import code_digest, hardware_name
from bench.system.errors import BadInputError
from bench.system.execution import Execution
from models.fixed_point.solvers import Solver


class StoppedError(Exception):
    """The cell was asked to stop, and can be gone on with."""


class QualityEvaluator:
    """Measures quality on one device; references are kept between cells.

    Args:
        store: where what is done of a cell is kept.
        device: where samples are drawn and features computed.
        execution: how networks are run.
        workers: processes that share the machine.
        assets: where datasets, reference statistics and extractors are.
        drawer: of the same.
        stopping: asked between batches whether to stop.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        execution: Execution,
        workers: int,
        assets: Assets,
        drawer: Drawer,
        stopping: Callable[[], bool],
    ) -> None:
        self._store, self._device, self._assets, self._drawer, self._stopping = store, device, assets, drawer, stopping
        self._execution, self._workers = execution, workers
        self._meters: dict[tuple[str, ...], QualityMeter] = {}

    def samples(self, cell: Cell, inputs: dict[str, str]) -> dict[str, Any]:
        """Metrics, cost, timing and samples_digest of a cell's record, whose `inputs` are given.

        Where it was interrupted, its peak memory is since it went on; all seconds are of all batches.

        Raises:
            BadInputError: reference or extractor are missing, or not the cell's.
            DivergedError: samples or distances are not finite.
            StoppedError: `stopping` said so; what was drawn is kept.
        """
        protocol, generator = cell.protocol, self._drawer.generator
        meter = self._meter(cell.run.suite, cell.run.dataset, protocol)  # what is missing is to be missed first
        self._check_images(cell, inputs)
        started, peak = time.perf_counter(), PeakMemory(self._device)
        compile_s = generator.warm_up(cell)
        compiled = time.perf_counter()
        make = generator.solver(cell)
        search_s = time.perf_counter() - compiled
        latency_s = median_seconds(lambda: generator.sample(cell, range(1), make), self._device)
        measurement = meter.start()
        parts, kept = self._parts(cell, inputs, make, measurement)
        quality = measurement.finish(protocol.kid_subsets, protocol.kid_subset_size)
        if not all(map(math.isfinite, asdict(quality).values())):
            raise DivergedError(f"distances are not finite: {quality}")
        sampling_s = sum(part.sampling_s for part in parts)
        taken, digests = (torch.cat([getattr(part, name) for part in parts]) for name in ("taken", "digests"))
        return {
            "metrics": asdict(quality),
            "cost": spent(cell, taken, sum(part.executed for part in parts)),
            "timing": {
                "sampling_s": sampling_s,
                "decoding_s": sum(part.decoding_s for part in parts),
                "features_s": sum(part.features_s for part in parts),
                "images_per_s": protocol.samples / sampling_s,
                "latency_s": latency_s,
                "search_s": search_s if cell.allocation == "adaptive" else 0.0,
                "compile_s": compile_s,
                "total_s": time.perf_counter() - started + sum(map(_seconds, parts[:kept])),
                "threads": torch.get_num_threads(),
                "workers": self._workers,
                **peak.read(),
            },
            "samples_digest": f"each:{sha256(digests.numpy().tobytes()).hexdigest()}",
        }

    def floor(self, cell: Floor) -> dict[str, float]:
        """Quality of real images that nothing was trained on, measured as that of generated ones is."""
        protocol = cell.protocol
        images = load_held_out(self._assets.data).balanced(protocol.samples)
        meter = self._meter(cell.suite, cell.dataset, protocol)
        return asdict(meter.measure(images, protocol.kid_subsets, protocol.kid_subset_size))

    def _parts(
        self, cell: Cell, inputs: dict[str, str], make: Callable[[int], Solver], measurement: Measurement
    ) -> tuple[list[Part], int]:
        """Draw and measure the cell's batches; how many of them were there, as it had been interrupted."""
        here = {
            "code": code_digest(),
            "torch": torch.__version__,
            "hardware": self._execution.on(hardware_name(self._device)),
            "threads": f"{torch.get_num_threads()}, {self._workers} cells side by side",
        }
        partial = Partial(self._store.partial_folder(cell), inputs | here)
        parts = partial.resume()
        if parts:
            measurement.resume([part.features for part in parts], parts[-1].waiting)
        kept = len(parts)
        for batch in self._drawer.batches(cell, make, start=len(parts)):
            before = time.perf_counter()
            features = measurement.add(batch.images)
            part = Part(
                features=features,
                waiting=measurement.waiting,
                digests=_digests(batch.images),
                taken=batch.taken,
                executed=batch.executed,
                sampling_s=batch.sampling_s,
                decoding_s=batch.decoding_s,
                features_s=time.perf_counter() - before,
            )
            partial.add(len(parts), part)
            parts.append(replace(part, waiting=part.waiting.new_zeros(0)))
            if self._stopping():
                raise StoppedError
        return parts, kept

    def _meter(self, suite: str, dataset: str, protocol: Protocol) -> QualityMeter:
        """The meter of a protocol. BadInputError if reference or extractor are missing, or not those."""
        key = dataset, protocol.extractor, protocol.reference_digest, protocol.extractor_digest
        if key not in self._meters:
            kept = reference_of(protocol, self._assets.prepared, suite) if is_latent(dataset) else None
            extractor = make_extractor(protocol.extractor, self._device, self._assets.inception_weights)
            check_extractor(extractor, protocol)
            if kept is None:
                images = load_dataset(dataset, self._assets.data).images
                kept = ReferenceStatistics.from_images(images, extractor)
            self._meters[key] = QualityMeter(kept, extractor)
        return self._meters[key]

    def _check_images(self, cell: Cell, inputs: dict[str, str]) -> None:
        """BadInputError if the reference is of other images than the run learned from."""
        images, reference = inputs.get("images"), read_reference(self._store.root)
        if images and reference and images != reference.digest:
            raise BadInputError(
                f"{cell.run.name} was trained on images of digest {images[:12]}, the reference is of "
                f"{reference.digest[:12]}: make one with bench/reference.py from the same images"
            )


def _seconds(part: Part) -> float:
    return part.sampling_s + part.decoding_s + part.features_s


def _digests(images: Tensor) -> Tensor:
    """SHA-256 of each image, uint8 (count, 32)."""
    each = b"".join(sha256(image.tobytes()).digest() for image in images.numpy())
    return torch.frombuffer(bytearray(each), dtype=torch.uint8).reshape(-1, 32)
