"""Encodes an image dataset in shards that several processes share, in the format that `bench.data.latents` reads.

<folder>/settings.json       what is being encoded, and how; written first, so that nothing else is mixed in
<folder>/moments-00007.json  shard 7 is done: its range, unreadable images, sizes and digests of its files
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bench.data.images import ImageSource, dataset_digest
from bench.data.latents import FORMAT, MANIFEST, manifest_digest, read_manifest
from bench.prepare.fingerprint import check_ends, sample
from bench.prepare.reading import ReadBatch, Unreadable, read_batches
from bench.prepare.shards import (
    Summary,
    UnreadableImagesError,
    check_left_out,
    make_shards,
    read_shard,
    shard_ranges,
)
from bench.system.errors import BadInputError
from bench.system.files import write_json, write_whole
from bench.system.locks import hold
from bench.system.progress import interval_s
from models.autoencoder import LatentAutoencoder

_STEM = "moments"


@dataclass(frozen=True)
class Encoding:
    """A dataset to be encoded into a folder.

    Attributes:
        folder: where it goes.
        dataset: its name.
        source: its images.
        autoencoder: what encodes them.
        autoencoder_source: where that was loaded from.
        image_size: of the crops, in pixels.
        shard_images: images in a shard.
        batch_size: images that are encoded at once.
        workers: processes that read and decode images.
        skip_bad: leave unreadable images out.
    """

    folder: Path
    dataset: str
    source: ImageSource
    autoencoder: LatentAutoencoder
    autoencoder_source: str
    image_size: int
    shard_images: int
    batch_size: int
    workers: int
    skip_bad: bool

    @cached_property
    def ranges(self) -> list[range]:
        """The images of each shard."""
        return shard_ranges(len(self.source), self.shard_images)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What all shards of a folder have in common."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "images": len(self.source),
            "labels_sha256": sha256(self.source.labels.astype("<i8").tobytes()).hexdigest(),
            "image_size": self.image_size,
            "shard_images": self.shard_images,
            "vae": self.autoencoder.digest,
            "sample": sample(self.source),
        }

    def check_settings(self) -> None:
        """Take the folder for these settings. BadInputError if it was begun with others, or from other images."""
        path = self.folder / "settings.json"
        with hold(self.folder / "settings.lock", wait=True):
            if not path.exists():
                write_json(path, self.settings)
        try:
            begun = dict(json.loads(path.read_text()))
            sampled = dict(begun.pop("sample"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadInputError(
                f"{path} is damaged ({error!r}): choose another --prepared, or empty its folder"
            ) from error
        for name, value in self.settings.items():
            if name != "sample" and begun.get(name) != value:
                raise BadInputError(
                    f"{self.folder} was begun with {name} {begun.get(name)}, not {value}: "
                    "say the same again, choose another --prepared, or empty the folder"
                )
        for index, value in self.settings["sample"].items():
            if sampled.get(index, value) != value:  # what could not be read then may have been put right
                raise BadInputError(
                    f"{self.folder} was begun with another image {self.source.name(int(index))}: name the same dataset "
                    "again, choose another --prepared, or empty the folder"
                )
        check_left_out(self.folder, _STEM, range(len(self.ranges)), self.skip_bad)
        self._check_images()

    def run(self, start: int) -> tuple[int, bool]:
        """Encode what no other process does, beginning with shard `start`; how many were made, and whether all are.

        Raises:
            BadInputError: unreadable images, or what the autoencoder made of them cannot be used.
        """
        made: list[int] = []
        with tqdm(desc=f"encode {self.dataset}", total=len(self.source), unit="img", mininterval=interval_s()) as bar:

            def make(shard: int) -> Summary:
                here = sum(len(self.ranges[i]) for i in made)
                bar.initial = self._images_done() - here  # by other processes, or earlier
                bar.n = bar.initial + here
                summary = self._make(shard, bar)
                made.append(shard)
                return summary

            count = len(self.ranges)
            complete = make_shards(self.folder, _STEM, [(start + i) % count for i in range(count)], make, self.skip_bad)
        return len(made), complete

    def _images_done(self) -> int:
        done = (self.folder / f"{_STEM}-{shard:05d}.json" for shard in range(len(self.ranges)))
        return sum(len(part) for part, path in zip(self.ranges, done, strict=True) if path.exists())

    def _make(self, shard: int, bar: tqdm) -> Summary:
        """Encode a shard and write its files. Its batches begin where it begins, wherever work was interrupted."""
        part, name = self.ranges[shard], f"-{shard:05d}"
        for left_behind in self.folder.glob(f".*{name}.*"):  # by a process that was killed; the shard's lock is held
            left_behind.unlink()
        (self.folder / MANIFEST).unlink(missing_ok=True)  # of a shard that was deleted to be made again
        moments, hashes, unreadable = [], [], list[Unreadable]()
        for batch in read_batches(self.source, part, self.image_size, self.batch_size, self.workers):
            moments.append(self._encode(batch))
            hashes.append(batch.hashes)
            unreadable += batch.unreadable
            bar.update(len(batch.indices) + len(batch.unreadable))
        if unreadable and not self.skip_bad:
            raise UnreadableImagesError(unreadable)
        files = [
            _write_array(self.folder / f"{_STEM}{name}.npy", np.concatenate(moments)),
            _write_array(self.folder / f"hashes{name}.npy", np.concatenate(hashes)),
        ]
        images = len(part) - len(unreadable)
        return {
            "start": part.start,
            "stop": part.stop,
            "images": images,
            "files": [{**files[0], "images": images}, files[1]],
            "unreadable": [asdict(image) for image in unreadable],
        }

    def _encode(self, batch: ReadBatch) -> np.ndarray:
        """(batch, 2, 2 * channels, height, width) float16: moments of images and of their mirror images."""
        side = self.image_size // self.autoencoder.downsampling
        if not len(batch.indices):
            return np.empty((0, 2, 2 * self.autoencoder.channels, side, side), dtype=np.float16)
        pair = [self.autoencoder.moments(images) for images in (batch.images, batch.images.flip(-1))]
        moments = torch.stack(pair, dim=1).to(torch.float16)
        finite = moments.isfinite().flatten(1).all(dim=1).cpu().numpy()
        if not finite.all():
            names = [self.source.name(int(index)) for index in batch.indices[~finite]]
            raise BadInputError(
                f"--vae {self.autoencoder_source}: gives values that are not finite in 16 bits for {len(names)} of "
                f"{len(finite)} images, {names[0]} first; use the weights that the dataset's suite names"
            )
        return moments.cpu().numpy()

    def finish(self) -> dict[str, Any]:
        """The manifest: as it is there, or written now that all shards are. BadInputError if files are damaged."""
        with hold(self.folder / "manifest.lock", wait=True):
            if not (self.folder / MANIFEST).exists():
                write_json(self.folder / MANIFEST, self._manifest())
        return read_manifest(self.folder)

    def _manifest(self) -> dict[str, Any]:
        shards = [read_shard(self.folder, _STEM, shard) for shard in range(len(self.ranges))]
        self._check_files(shards)
        self._check_images()  # other processes' too
        kept = [_kept(part, shard["unreadable"]) for part, shard in zip(self.ranges, shards, strict=True)]
        index = np.concatenate(kept)
        if not len(index):
            raise BadInputError(f"{self.dataset}: none of its {len(self.source):,} images can be read")
        labels = self.source.labels[index]
        hashes = np.concatenate([np.load(self.folder / shard["files"][1]["name"]) for shard in shards])
        side, vae = self.image_size // self.autoencoder.downsampling, self.autoencoder
        manifest = {
            "format": FORMAT,
            "dataset": self.dataset,
            "image_size": self.image_size,
            "count": len(index),
            "moments_shape": [2 * vae.channels, side, side],
            "dtype": "float16",
            "vae": {
                "source": self.autoencoder_source,
                "digest": vae.digest,
                "scaling_factor": vae.scaling_factor,
                "shift_factor": vae.shift_factor,
            },
            "images_digest": dataset_digest(labels, hashes),
            "files": [
                _write_array(self.folder / "labels.npy", labels),
                _write_array(self.folder / "index.npy", index),
                *(file for shard in shards for file in shard["files"]),
            ],
            "unreadable": [image for shard in shards for image in shard["unreadable"]],
        }
        return manifest | {"digest": manifest_digest(manifest)}

    def _check_images(self) -> None:
        """BadInputError if a shard that is done was made from other images."""
        for number, part in enumerate(self.ranges):
            summary = self.folder / f"{_STEM}-{number:05d}.json"
            if not summary.exists():
                continue
            try:
                kept = _kept(part, read_shard(self.folder, _STEM, number)["unreadable"])
                hashes = np.load(self.folder / f"hashes-{number:05d}.npy")
                if hashes.shape != (len(kept), 32):
                    raise ValueError(f"hashes of shape {hashes.shape} of {len(kept)} images")
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                raise _damaged(summary, error) from error
            check_ends(self.source, kept, hashes, str(summary))

    def _check_files(self, shards: Sequence[Summary]) -> None:
        for number, shard in enumerate(shards):
            summary = self.folder / f"{_STEM}-{number:05d}.json"
            try:
                sizes = {file["name"]: file["bytes"] for file in shard["files"]}
                if (shard["start"], shard["stop"]) != (self.ranges[number].start, self.ranges[number].stop):
                    raise ValueError(f"images {shard['start']}..{shard['stop']}")
                for name, size in sizes.items():
                    if (self.folder / name).stat().st_size != size:
                        raise ValueError(f"{name} is truncated")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _damaged(summary, error) from error


def _damaged(summary: Path, error: Exception) -> BadInputError:
    return BadInputError(f"shard {summary} is damaged ({error}): delete it and run the same command again")


def _kept(part: range, unreadable: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.setdiff1d(np.arange(part.start, part.stop, dtype=np.int64), [image["index"] for image in unreadable])


def _write_array(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write an .npy file whole; its name, size in bytes and SHA-256, of what was meant to be written."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    write_whole(path, lambda file: (file.write(header.getvalue()), file.write(array.data)))
    hasher = sha256(header.getvalue())
    hasher.update(array.data)
    return {"name": path.name, "bytes": len(header.getvalue()) + array.nbytes, "sha256": hasher.hexdigest()}
