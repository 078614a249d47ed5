"""Reference statistics of a dataset, made in shards: each has moments and kept features, which are merged at the end.

    <folder>/reference-parts/<work>-00007.safetensors   mean, scatter, kept features, hashes, indices of shard 7
    <folder>/reference-parts/<work>-00007.*             files of `bench.prepare.shards`

Features are computed in chunks that begin with the shard, so that interruptions change no bit of the result.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor
from tqdm import tqdm

from bench.data.images import dataset_digest
from bench.prepare.fingerprint import check_ends, fingerprint
from bench.prepare.reading import ReadBatch, Reader
from bench.prepare.shards import Shards, Summary
from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream
from bench.quality.moments import Moments
from bench.quality.reference_statistics import (
    ReferenceStatistics,
    kept_indices,
    read_identity,
    save_statistics,
    statistics_path,
)
from bench.spec.cells import spec_hash
from bench.spec.reference import Reference
from bench.store.references import read_reference, reference_path, write_reference
from bench.system.errors import BadInputError
from bench.system.files import read_bytes, write_bytes
from bench.system.locks import hold
from bench.system.progress import interval_s

BLOCK = 10  # chunks of features whose moments are taken at once


class AlreadyThereError(Exception):
    """Another process has merged all shards."""


class ReferenceRun:
    """The making of the statistics of one dataset.

    Args:
        reader: reads the images.
        dataset: its name.
        extractor: computes the features.
        prepared: the suite's folder of prepared files.
        results: the suite's folder of results.
        shard_images: images in a shard.
    """

    def __init__(
        self,
        reader: Reader,
        dataset: str,
        extractor: Extractor,
        prepared: Path,
        results: Path,
        shard_images: int,
    ) -> None:
        self._reader, self._extractor = reader, extractor
        self._prepared, self._results = prepared, results
        self._wanted = (dataset, reader.size, extractor.name, extractor.digest)
        self._kept = kept_indices(len(reader.source))
        self._fingerprint = fingerprint(reader.source)
        work = spec_hash({"images": self._fingerprint, "of": self._wanted, "shard_images": shard_images}, 12)
        folder = prepared / "reference-parts"
        self._shards = Shards(folder, work, len(reader.source), shard_images, reader.skip_bad)

    def make(self) -> str:
        """Make the shards that no other process makes, and the statistics if all are done; returns a line of text.

        Raises:
            BadInputError: the results have another reference, or images are unreadable and not to be left out.
        """
        self._check_results()
        if (path := self._find()) is not None:
            outcome = self._use(path)
            self._remove_parts()  # left by a process that was killed after it merged them
            return outcome
        self._shards.check_left_out()
        try:
            complete = self._shards.make(self._make)
        except AlreadyThereError:
            complete = True
        if not complete:
            return "other processes are making the rest; run the same command again if they are stopped"
        with hold(self._prepared / f"{self._shards.stem}.lock", wait=True):
            path = self._find()
            outcome = self._merge() if path is None else self._use(path)
            self._remove_parts()
        return outcome

    def _check_results(self) -> None:
        """BadInputError if the results have a reference of other images or features, as known so far."""
        known = read_reference(self._results)
        if known is None:
            return
        path = statistics_path(self._prepared, known.identity)
        known_fingerprint = read_identity(path)[1] if path.exists() else self._fingerprint
        if (_key(known), known_fingerprint) != (self._wanted, self._fingerprint):
            raise BadInputError(
                f"{reference_path(self._results)} is of other images or features: choose another --results, or delete "
                "it with its records"
            )

    def _find(self) -> Path | None:
        """The file of the statistics, if it exists."""
        for path in sorted(self._prepared.glob("reference-*.safetensors")):
            reference, known_fingerprint = read_identity(path)
            if (_key(reference), known_fingerprint) == (self._wanted, self._fingerprint):
                return path
        return None

    def _use(self, path: Path) -> str:
        """Give the results the statistics of an existing file."""
        reference, _ = read_identity(path)
        if (left_out := self._shards.images - reference.images) and not self._shards.skip_bad:
            raise BadInputError(
                f"{path}: {left_out} unreadable images were left out by --skip-bad: repeat --skip-bad, or delete the "
                "file to make it again"
            )
        write_reference(self._results, reference)
        return f"reference statistics are there already: {path}"

    def _make(self, shard: int) -> Summary:
        if self._find() is not None:  # the shards are merged and removed
            raise AlreadyThereError
        images, part = self._shards.ranges[shard], _Part(self._extractor, self._kept)
        unreadable: list[str] = []
        desc = f"reference, shard {shard + 1} of {len(self._shards)}"
        with tqdm(total=len(images), desc=desc, unit="image", mininterval=interval_s()) as bar:
            for batch in self._reader.batches(images):
                part.add(batch)
                unreadable += [bad.name for bad in batch.unreadable]
                bar.update(batch.count)
        write_bytes(self._tensors_path(shard), save(part.finish()))
        return {"images": len(images) - len(unreadable), "unreadable": unreadable}

    def _merge(self) -> str:
        """Merge the shards and write the statistics."""
        moments, parts, left_out = None, [], 0
        for shard in range(len(self._shards)):
            left_out += len(self._shards.read(shard)["unreadable"])
            part = self._read(shard)
            check_ends(self._reader.source, part["indices"], part["hashes"], str(self._tensors_path(shard)))
            mean, scatter, count = part.pop("mean"), part.pop("scatter"), len(part["indices"])
            if count:
                own = Moments(count, mean, scatter)
                moments = own if moments is None else moments.merged(own)
            parts.append(part)
        if moments is None or moments.count < 2:
            raise BadInputError("fewer than two images can be read: a covariance needs two or more")
        indices, hashes, features = (np.concatenate([p[name] for p in parts]) for name in ("indices", "hashes", "kept"))
        digest = dataset_digest(self._reader.source.labels[indices], hashes)
        dataset, size, extractor, extractor_digest = self._wanted
        reference = Reference(dataset, moments.count, size, digest, extractor, extractor_digest)
        write_reference(self._results, reference)  # first: it fails if the results have another reference
        statistics = ReferenceStatistics(
            moments.count, size, moments.mean, moments.covariance, torch.from_numpy(features)
        )
        path = statistics_path(self._prepared, reference.identity)
        save_statistics(path, statistics, reference, self._fingerprint)
        without = f", without {left_out} that cannot be read" if left_out else ""
        return f"reference statistics of {moments.count:,} images{without} -> {path}"

    def _read(self, shard: int) -> dict[str, np.ndarray]:
        content = read_bytes(self._tensors_path(shard))
        try:
            return load(content)
        except Exception as error:
            raise self._shards.damaged(shard, error) from error

    def _tensors_path(self, shard: int) -> Path:
        return self._shards.path(shard, ".safetensors")

    def _remove_parts(self) -> None:
        """Remove the shards of this work. A process that comes later finds the statistics first."""
        folder = self._shards.folder
        for path in folder.glob(f"*{self._shards.stem}-*"):  # files half-written by a killed process begin with a dot
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it has shards of other work
            folder.rmdir()


class _Part:
    """Moments, kept features, hashes and indices of the images of a shard, collected batch by batch.

    Args:
        extractor: computes the features.
        kept: (kept,), indices of the images whose features are kept, in order.
    """

    def __init__(self, extractor: Extractor, kept: np.ndarray) -> None:
        self._stream, self._kept, self._dimensions = FeatureStream(extractor), kept, extractor.dimensions
        self._moments: Moments | None = None
        self._block: list[Tensor] = []
        self._indices, self._hashes = [np.empty(0, np.int64)], [np.empty((0, 32), np.uint8)]
        self._features = [np.empty((0, self._dimensions), np.float32)]

    def add(self, batch: ReadBatch) -> None:
        self._indices.append(batch.indices)
        self._hashes.append(batch.hashes)
        for chunk in self._stream.add(batch.images):
            self._block.append(chunk)
            if len(self._block) == BLOCK:
                self._close_block()

    def finish(self) -> dict[str, np.ndarray]:
        """The arrays of the shard's file."""
        self._block += self._stream.finish()
        if self._block:
            self._close_block()
        shape = (self._dimensions, self._dimensions)
        moments = self._moments or Moments(0, np.zeros(shape[0]), np.zeros(shape))
        return {
            "mean": moments.mean,
            "scatter": moments.scatter,
            "kept": np.concatenate(self._features),
            "indices": np.concatenate(self._indices),
            "hashes": np.concatenate(self._hashes),
        }

    def _close_block(self) -> None:
        features = torch.cat(self._block).numpy()
        self._block = []
        own = Moments.of(features)
        done = self._moments.count if self._moments else 0
        indices = np.concatenate(self._indices)[done : done + len(features)]
        self._features.append(features[np.isin(indices, self._kept)])
        self._moments = self._moments.merged(own) if self._moments else own


def _key(reference: Reference) -> tuple[str, int, str, str]:
    """Dataset, image size, extractor and its digest of a reference."""
    return reference.dataset, reference.image_size, reference.extractor, reference.extractor_digest
