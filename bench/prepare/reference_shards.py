"""Reference statistics of a dataset, made in shards: each has moments and kept features, which are merged at the end.

    <folder>/reference-parts/<work>-00007.safetensors   mean, scatter, kept features, hashes, indices of shard 7
    <folder>/reference-parts/<work>-00007.*             files of `bench.prepare.shards`

Features are computed in chunks that begin with the shard, so that interruptions change no bit of the result.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save
from tqdm import tqdm

from bench.data.images import dataset_digest
from bench.prepare.fingerprint import check_ends, fingerprint
from bench.prepare.reading import Reader
from bench.prepare.reference_parts import Part, in_file
from bench.prepare.shards import Shards, Summary
from bench.quality.extractor import Extractor
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


class AlreadyThereError(Exception):
    """Another process has merged all shards."""


class ReferenceRun:
    """The making of the statistics of one dataset.

    Args:
        reader: reads the images.
        dataset: its name.
        extractors: compute the features, each for statistics of its own: the suite's under the empty name, a second
            one under its name.
        prepared: the suite's folder of prepared files.
        results: the suite's folder of results.
        shard_images: images in a shard.
    """

    def __init__(
        self,
        reader: Reader,
        dataset: str,
        extractors: Mapping[str, Extractor],
        prepared: Path,
        results: Path,
        shard_images: int,
    ) -> None:
        self._reader, self._all = reader, dict(extractors)
        self._prepared, self._results = prepared, results
        self._wanted = {name: (dataset, reader.size, one.name, one.digest) for name, one in self._all.items()}
        self._kept = kept_indices(len(reader.source))
        self._fingerprint = fingerprint(reader.source)
        self._shard_images = shard_images
        self._extractors, self._shards = self._work()

    def _work(self) -> tuple[dict[str, Extractor], Shards]:
        """The extractors whose features are computed, and their shards: of those without statistics.

        Or of all, if such work was begun: one that failed between two files of statistics still has the parts of both.
        """
        together = self._shards_of(self._all)
        lacking = {name: one for name, one in self._all.items() if self._find_one(name) is None}
        if not lacking or any(map(together.is_done, range(len(together)))):
            return self._all, together
        return lacking, self._shards_of(lacking)

    def _shards_of(self, extractors: Mapping[str, Extractor]) -> Shards:
        wanted = [self._wanted[name] for name in extractors]
        of = wanted[0] if len(wanted) == 1 else wanted
        work = spec_hash({"images": self._fingerprint, "of": of, "shard_images": self._shard_images}, 12)
        source, folder = self._reader.source, self._prepared / "reference-parts"
        return Shards(folder, work, len(source), self._shard_images, self._reader.skip_bad)

    def make(self) -> str:
        """Make the shards that no other process makes, and the statistics if all are done; returns text.

        Raises:
            BadInputError: the results have another reference, or images are unreadable and not to be left out.
        """
        self._check_results()
        if (paths := self._find()) is not None:
            outcome = self._use(paths)
            self._remove_parts()  # left by a process that was killed after it merged them
            return outcome
        there = {name: path for name in self._all.keys() - self._extractors if (path := self._find_one(name))}
        used = [self._use(there)] if there else []
        self._shards.check_left_out()
        try:
            complete = self._shards.make(self._make)
        except AlreadyThereError:
            complete = True
        if not complete:
            return "other processes are making the rest; run the same command again if they are stopped"
        with hold(self._prepared / f"{self._shards.stem}.lock", wait=True):
            paths = self._find()
            outcome = "\n".join([*used, self._merge()]) if paths is None else self._use(paths)
            self._remove_parts()
        return outcome

    def _check_results(self) -> None:
        """BadInputError if the results have a reference of other images or features, as known so far."""
        for name, wanted in self._wanted.items():
            if (known := read_reference(self._results, name)) is None:
                continue
            path = statistics_path(self._prepared, known.identity)
            known_fingerprint = read_identity(path)[1] if path.exists() else self._fingerprint
            if (_key(known), known_fingerprint) != (wanted, self._fingerprint):
                raise BadInputError(
                    f"{reference_path(self._results, name)} is of other images or features: choose another --results, "
                    "or delete it with its records"
                )

    def _find(self) -> dict[str, Path] | None:
        """The files of all statistics, by extractor, if all exist."""
        found = {name: path for name in self._all if (path := self._find_one(name)) is not None}
        return found if len(found) == len(self._all) else None

    def _find_one(self, name: str) -> Path | None:
        """The file of an extractor's statistics, if it exists."""
        for path in sorted(self._prepared.glob("reference-*.safetensors")):
            reference, known_fingerprint = read_identity(path)
            if (_key(reference), known_fingerprint) == (self._wanted[name], self._fingerprint):
                return path
        return None

    def _use(self, paths: Mapping[str, Path]) -> str:
        """Give the results the statistics of existing files."""
        references = {name: read_identity(path)[0] for name, path in paths.items()}
        for name, reference in references.items():
            if (left_out := self._shards.images - reference.images) and not self._shards.skip_bad:
                raise BadInputError(
                    f"{paths[name]}: {left_out} unreadable images were left out by --skip-bad: repeat --skip-bad, or "
                    "delete the file to make it again"
                )
        for name, reference in references.items():
            write_reference(self._results, reference, name)
        return "\n".join(f"reference statistics are there already: {path}" for path in paths.values())

    def _make(self, shard: int) -> Summary:
        if self._find() is not None:  # the shards are merged and removed
            raise AlreadyThereError
        images, part = self._shards.ranges[shard], Part(self._extractors, self._kept)
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
        """Merge the shards and write the statistics of each extractor."""
        left_out = sum(len(self._shards.read(shard)["unreadable"]) for shard in range(len(self._shards)))
        without = f", without {left_out} that cannot be read" if left_out else ""
        lines = []
        for name in self._extractors:
            statistics, reference = self._merged(name)
            write_reference(self._results, reference, name)  # first: it fails if the results have another reference
            path = statistics_path(self._prepared, reference.identity)
            save_statistics(path, statistics, reference, self._fingerprint)
            features = f" in features of {reference.extractor}" if name else ""
            lines.append(f"reference statistics of {statistics.count:,} images{features}{without} -> {path}")
        return "\n".join(lines)

    def _merged(self, name: str) -> tuple[ReferenceStatistics, Reference]:
        """The statistics of all shards in an extractor's features, and their identity."""
        moments, parts = None, []
        for shard in range(len(self._shards)):
            part = self._read(shard)
            check_ends(self._reader.source, part["indices"], part["hashes"], str(self._tensors_path(shard)))
            mean, scatter, kept = (part[in_file(name, what)] for what in ("mean", "scatter", "kept"))
            if count := len(part["indices"]):
                own = Moments(count, mean, scatter)
                moments = own if moments is None else moments.merged(own)
            parts.append((part["indices"], part["hashes"], kept))
        if moments is None or moments.count < 2:
            raise BadInputError("fewer than two images can be read: a covariance needs two or more")
        indices, hashes, features = map(np.concatenate, zip(*parts, strict=True))
        digest = dataset_digest(self._reader.source.labels[indices], hashes)
        dataset, size, extractor, extractor_digest = self._wanted[name]
        reference = Reference(dataset, moments.count, size, digest, extractor, extractor_digest)
        rows = torch.from_numpy(features)
        return ReferenceStatistics(moments.count, size, moments.mean, moments.covariance, rows), reference

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


def _key(reference: Reference) -> tuple[str, int, str, str]:
    """Dataset, image size, extractor and its digest of a reference."""
    return reference.dataset, reference.image_size, reference.extractor, reference.extractor_digest
