"""A dataset's reference statistics from shards: each one's moments and kept features, merged when all are there.

    <folder>/reference-parts/<job>-00007.safetensors   mean, scatter, features (kept), hashes, indices of shard 7
    <folder>/reference-parts/<job>-00007.*             `bench.prepare.shards`

Features are computed in chunks that start with the shard, so that interruptions change no bit of the result.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor
from tqdm import tqdm

from bench.data.images import ImageSource, dataset_digest
from bench.prepare.fingerprint import check_ends, fingerprint
from bench.prepare.reading import ReadBatch, Unreadable, read_batches
from bench.prepare.shards import (
    Summary,
    UnreadableImagesError,
    check_left_out,
    make_shards,
    read_shard,
    shard_ranges,
)
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
from bench.store.references import Reference, read_reference, reference_path, write_reference
from bench.system.errors import BadInputError
from bench.system.files import write_whole
from bench.system.locks import hold
from bench.system.progress import interval_s

BLOCK = 10  # chunks of features whose moments are taken at once


class AlreadyThereError(Exception):
    """Another process has merged all shards meanwhile."""


class ReferenceRun:
    """The making of one dataset's statistics.

    Args:
        source: the images.
        dataset: what they are called.
        extractor: whose features.
        prepared: folder of the suite's statistics.
        results: folder of the suite's results.
        image_size: of the centre crops, pixels.
        shard_images: images of a shard.
    """

    def __init__(
        self,
        source: ImageSource,
        dataset: str,
        extractor: Extractor,
        prepared: Path,
        results: Path,
        image_size: int = 256,
        shard_images: int = 65536,
    ) -> None:
        self._source, self._extractor = source, extractor
        self._prepared, self._results = prepared, results
        self._size = image_size
        self._wanted = (dataset, image_size, extractor.name, extractor.digest)
        self._shards = shard_ranges(len(source), shard_images)
        self._kept = kept_indices(len(source))
        self._fingerprint = fingerprint(source)
        self._folder = prepared / "reference-parts"
        self._stem = spec_hash({"images": self._fingerprint, "of": self._wanted, "shard_images": shard_images}, 12)

    def make(self, batch_size: int, workers: int, skip_bad: bool) -> str:
        """Make what is not there and no other process is making; says what came of it.

        Args:
            batch_size: images read at once.
            workers: processes that read them, 0 for none beside this one.
            skip_bad: leave out images that cannot be read.

        Raises:
            BadInputError: the results are of another reference; images that cannot be read, or that were left out, and
                `skip_bad` is not said.
        """
        self._check_results()
        if (path := self._find()) is not None:
            return self._there(path, skip_bad)
        shards = range(len(self._shards))
        check_left_out(self._folder, self._stem, shards, skip_bad)
        try:
            complete = make_shards(
                self._folder,
                self._stem,
                shards,
                lambda shard: self._make(shard, batch_size, workers, skip_bad),
                skip_bad,
            )
        except AlreadyThereError:
            complete = True
        if not complete:
            return "other processes are making the rest; run the same command again if they are stopped"
        with hold(self._prepared / f"{self._stem}.lock", wait=True):
            path = self._find()
            outcome = self._merge() if path is None else self._there(path, skip_bad)
            self._remove_parts()
        return outcome

    def _check_results(self) -> None:
        """BadInputError if the results belong to other images or features, as far as can be told before the work."""
        known = read_reference(self._results)
        if known is None:
            return
        path = statistics_path(self._prepared, known.identity)
        of = read_identity(path)[1] if path.exists() else self._fingerprint
        if (_features(known), of) != (self._wanted, self._fingerprint):
            raise BadInputError(
                f"{reference_path(self._results)} is of other images or features: choose another --results, or delete "
                "it with its records"
            )

    def _find(self) -> Path | None:
        """The file of the statistics, if they are there."""
        for path in sorted(self._prepared.glob("reference-*.safetensors")):
            reference, of = read_identity(path)
            if (_features(reference), of) == (self._wanted, self._fingerprint):
                return path
        return None

    def _there(self, path: Path, skip_bad: bool) -> str:
        reference, _ = read_identity(path)
        if (left_out := len(self._source) - reference.images) and not skip_bad:
            raise BadInputError(
                f"{path}: {left_out} unreadable images were left out there by --skip-bad: say it again, or delete the "
                "file to have it made whole"
            )
        write_reference(self._results, reference)
        return f"reference statistics are there already: {path}"

    def _make(self, shard: int, batch_size: int, workers: int, skip_bad: bool) -> Summary:
        if self._find() is not None:  # and the parts are removed
            raise AlreadyThereError
        images, part = self._shards[shard], _Part(self._extractor, self._kept)
        unreadable: list[Unreadable] = []
        desc = f"reference, shard {shard + 1} of {len(self._shards)}"
        with tqdm(total=len(images), desc=desc, unit="image", mininterval=interval_s()) as bar:
            for batch in read_batches(self._source, images, self._size, batch_size, workers):
                part.add(batch)
                unreadable += batch.unreadable
                bar.update(len(batch.images) + len(batch.unreadable))
        if unreadable and not skip_bad:
            raise UnreadableImagesError(unreadable)
        content = save(part.finish())
        write_whole(self._tensors_path(shard), lambda file: file.write(content))
        return {"images": len(images) - len(unreadable), "unreadable": [bad.name for bad in unreadable]}

    def _merge(self) -> str:
        """Put the parts together and write the statistics."""
        moments, parts, left_out = None, [], 0
        for shard in range(len(self._shards)):
            left_out += len(read_shard(self._folder, self._stem, shard)["unreadable"])
            part = self._read(shard)
            check_ends(self._source, part["indices"], part["hashes"], str(self._tensors_path(shard)))
            mean, scatter, count = part.pop("mean"), part.pop("scatter"), len(part["indices"])
            if count:
                own = Moments(count, mean, scatter)
                moments = own if moments is None else moments.merged(own)
            parts.append(part)
        if moments is None or moments.count < 2:
            raise BadInputError("fewer than two images can be read: a covariance needs two or more")
        indices, hashes, features = (np.concatenate([p[name] for p in parts]) for name in ("indices", "hashes", "kept"))
        digest = dataset_digest(self._source.labels[indices], hashes)
        dataset, size, extractor, extractor_digest = self._wanted
        reference = Reference(dataset, moments.count, size, digest, extractor, extractor_digest)
        write_reference(self._results, reference)  # first: it is refused if the results have another
        statistics = ReferenceStatistics(
            moments.count, size, moments.mean, moments.covariance, torch.from_numpy(features)
        )
        path = statistics_path(self._prepared, reference.identity)
        save_statistics(path, statistics, reference, self._fingerprint)
        without = f", without {left_out} that cannot be read" if left_out else ""
        return f"reference statistics of {moments.count:,} images{without} -> {path}"

    def _read(self, shard: int) -> dict[str, np.ndarray]:
        path = self._tensors_path(shard)
        try:
            return load_file(path)
        except Exception as error:
            raise BadInputError(
                f"{path} is damaged ({error}): delete it and {path.stem}.json to have them made again"
            ) from error

    def _tensors_path(self, shard: int) -> Path:
        return self._folder / f"{self._stem}-{shard:05d}.safetensors"

    def _remove_parts(self) -> None:
        """Of this work only. Who still comes to make one finds the statistics first."""
        for path in self._folder.glob(f"*{self._stem}-*"):  # what a killed process was writing begins with a dot
            path.unlink(missing_ok=True)
        with suppress(OSError):  # parts of other work in it
            self._folder.rmdir()


class _Part:
    """Moments, kept features, hashes and indices of a shard's images as they come.

    Args:
        extractor: of features.
        kept: (kept,) indices of the images whose features are kept, in order.
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
        """What a part's file holds."""
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


def _features(reference: Reference) -> tuple[str, int, str, str]:
    """Of what and whose features a reference is."""
    return reference.dataset, reference.image_size, reference.extractor, reference.extractor_digest
