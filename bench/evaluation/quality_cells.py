"""Quality of a cell's samples, measured batch by batch: only features are kept in memory.

Each finished batch is written to disk (`bench.store.finished_batches`), so that an interrupted cell goes on after it.
"""

import math
import time
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from bench.data.pixels import load_dataset, load_held_out
from bench.evaluation.kinds import Inputs, StoppedError
from bench.evaluation.samples import Sampling
from bench.machine.devices import hardware_name
from bench.machine.provenance import code_digest
from bench.profiling.peak_memory import PeakMemory
from bench.quality.extractor import make_extractor, make_second
from bench.quality.meter import Measurement, QualityMeter, SecondJudge
from bench.quality.reference_statistics import ReferenceStatistics, check_extractor, reference_of
from bench.sampling.cost import cost_of
from bench.sampling.sampler import DivergedError
from bench.sampling.setting import Setting
from bench.sampling.solvers import solver_of
from bench.spec.cells import Cell, Protocol, Second
from bench.spec.datasets import get_dataset
from bench.spec.measurements import Floor
from bench.store.finished_batches import Part, Partial
from bench.store.references import read_reference
from bench.system.errors import BadInputError
from bench.training.clock import short_median


class Meters:
    """Quality meters by protocol; references and extractors are kept between cells."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._meters: dict[tuple[Any, ...], QualityMeter] = {}

    def get(self, suite: str, dataset: str, protocol: Protocol) -> QualityMeter:
        """The meter of a protocol. BadInputError if its reference or extractor is missing or another."""
        key = dataset, protocol.extractor, protocol.reference_digest, protocol.extractor_digest, protocol.second
        if key not in self._meters:
            places = self._setting.places
            kept = reference_of(protocol, places.prepared, suite) if get_dataset(dataset).is_latent else None
            images = load_dataset(dataset, places.data).images if kept is None else None
            extractor = make_extractor(protocol.extractor, self._setting.device, places.inception_weights, images)
            check_extractor(extractor, protocol)
            if images is not None:
                kept = ReferenceStatistics.from_images(images, extractor)
            assert kept is not None
            second = self._second(suite, protocol.second) if protocol.second else None
            self._meters[key] = QualityMeter(kept, extractor, second)
        return self._meters[key]

    def _second(self, suite: str, second: Second) -> SecondJudge:
        places = self._setting.places
        reference = reference_of(second, places.prepared, suite)
        extractor = make_second(second.name, self._setting.device, places.dinov2_weights)
        check_extractor(extractor, second)
        return SecondJudge(second.name, reference, extractor)


@lru_cache(maxsize=1)
def meters_of(setting: Setting) -> Meters:
    """The meters of a setting, shared by the kinds of measurement that need them."""
    return Meters(setting)


class Floors:
    """Quality of held-out real images, measured like that of samples."""

    def __init__(self, setting: Setting, sampler: object) -> None:
        self._setting, self._meters = setting, meters_of(setting)

    def skip(self, cell: Floor) -> str:
        """Empty: every machine can measure it."""
        return ""

    def measure(self, cell: Floor, inputs: Inputs) -> dict[str, Any]:
        protocol = cell.protocol
        places = self._setting.places
        data = load_held_out(cell.dataset, places.held_out or places.data, cell.images_digest)
        images = data.balanced(protocol.samples)
        meter = self._meters.get(cell.suite, cell.dataset, protocol)
        return {"metrics": meter.measure(images, protocol.kid_subsets, protocol.kid_subset_size)}


class Quality(Sampling):
    """Quality, cost and time of a cell's samples."""

    def __init__(self, setting: Setting, sampler: Any) -> None:
        super().__init__(setting, sampler)
        self._meters = meters_of(setting)

    def measure(self, cell: Cell, inputs: Inputs) -> dict[str, Any]:
        """As `Kind.measure`. For a resumed cell, peak memory is since the resumption, seconds are of all batches."""
        protocol, sampler, device = cell.protocol, self.sampler, self.setting.device
        meter = self._meters.get(cell.run.suite, cell.run.dataset, protocol)  # fail before the work, not after it
        self._check_images(cell, inputs)
        started, peak = time.perf_counter(), PeakMemory(device)
        compile_s = sampler.warm_up(cell)
        compiled = time.perf_counter()
        solver = solver_of(cell, sampler)
        search_s = time.perf_counter() - compiled
        latency_s = short_median(lambda: sampler.sample(cell, range(1), solver), device)
        measurement = meter.start()
        partial, parts = self._resume(cell, inputs, measurement)
        kept = len(parts)
        for batch in sampler.batches(cell, solver, inputs.autoencoder, start=kept):
            before = time.perf_counter()
            part = Part(
                features=measurement.add(batch.images),
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
            if self.setting.stopping():
                raise StoppedError
        quality = measurement.finish(protocol.kid_subsets, protocol.kid_subset_size)
        if not all(map(math.isfinite, quality.values())):
            raise DivergedError(f"distances are not finite: {quality}")
        sampling_s, decoding_s, features_s = (
            sum(getattr(part, name) for part in parts) for name in ("sampling_s", "decoding_s", "features_s")
        )
        taken, digests = (torch.cat([getattr(part, name) for part in parts]) for name in ("taken", "digests"))
        return {
            "metrics": quality,
            "cost": cost_of(cell, taken, sum(part.executed for part in parts)),
            "timing": {
                "sampling_s": sampling_s,
                "decoding_s": decoding_s,
                "features_s": features_s,
                "images_per_s": protocol.samples / sampling_s,
                "latency_s": latency_s,
                "search_s": search_s if cell.allocation == "adaptive" else 0.0,
                "compile_s": compile_s,
                "total_s": time.perf_counter() - started + sum(map(_seconds, parts[:kept])),
                "threads": torch.get_num_threads(),
                "workers": self.setting.workers,
                **peak.read(),
            },
            "samples_digest": f"each:{sha256(digests.numpy().tobytes()).hexdigest()}",
        }

    def _resume(self, cell: Cell, inputs: Inputs, measurement: Measurement) -> tuple[Partial, list[Part]]:
        """Restore the measurement from the parts of an interrupted evaluation; returns them."""
        setting = self.setting
        here = {
            "code": code_digest(),
            "torch": torch.__version__,
            "hardware": setting.execution.on(hardware_name(setting.device)),
            "threads": f"{torch.get_num_threads()}, {setting.workers} cells side by side",
        }
        partial = Partial(setting.store.partial_folder(cell), inputs.digests | here)
        if parts := partial.resume():
            measurement.resume([part.features for part in parts], parts[-1].waiting)
        return partial, parts

    def _check_images(self, cell: Cell, inputs: Inputs) -> None:
        """BadInputError if the reference is of other images than the run was trained on."""
        images, reference = inputs.digests.get("images"), read_reference(self.setting.store.root)
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
