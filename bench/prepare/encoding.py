"""Encoding of an image dataset into latents, in shards that processes share, in the format of `bench.data.latents`.

<folder>/settings.json       the dataset and how it is encoded; written first, so that settings cannot be mixed
<folder>/moments-00007.json  summary of shard 7: its range, its unreadable images, sizes and digests of its files
"""

import io
import json
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
from bench.prepare.reading import ReadBatch, Reader, Unreadable
from bench.prepare.shards import Shards, Summary, first_shard
from bench.system.errors import BadInputError
from bench.system.files import read_bytes, write_bytes, write_json
from bench.system.locks import hold
from bench.system.progress import interval_s
from models.autoencoder import LatentAutoencoder


@dataclass(frozen=True)
class Encoding:
    """The encoding of a dataset into a folder.

    Attributes:
        folder: where the latents go.
        dataset: its name.
        reader: reads its images.
        autoencoder: encodes them.
        autoencoder_source: where the autoencoder was loaded from.
        shard_images: images in a shard.
    """

    folder: Path
    dataset: str
    reader: Reader
    autoencoder: LatentAutoencoder
    autoencoder_source: str
    shard_images: int

    @property
    def source(self) -> ImageSource:
        """The images."""
        return self.reader.source

    @cached_property
    def shards(self) -> Shards:
        """The shards of the folder."""
        return Shards(self.folder, "moments", len(self.source), self.shard_images, self.reader.skip_bad)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Settings that all shards of a folder share."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "images": len(self.source),
            "labels_sha256": sha256(self.source.labels.astype("<i8").tobytes()).hexdigest(),
            "image_size": self.reader.size,
            "shard_images": self.shard_images,
            "vae": self.autoencoder.digest,
            "sample": sample(self.source),
        }

    @property
    def moments_shape(self) -> tuple[int, int, int]:
        """Shape of the moments of an image: mean and log-variance, (2 * channels, height, width)."""
        side = self.reader.size // self.autoencoder.downsampling
        return 2 * self.autoencoder.channels, side, side

    def make(self) -> str:
        """Make the shards that no other process makes, and the manifest if all are done; returns a line of text.

        Raises:
            BadInputError: the folder has other settings or other images, images are unreadable, or the latents are not
                finite.
        """
        self._check_settings()
        shards, made = self.shards, list[int]()
        with tqdm(desc=f"encode {self.dataset}", total=shards.images, unit="img", mininterval=interval_s()) as bar:

            def make(shard: int) -> Summary:
                bar.n = sum(len(part) for i, part in enumerate(shards.ranges) if shards.is_done(i))
                bar.initial = bar.n - sum(len(shards.ranges[i]) for i in made)  # done elsewhere, or earlier
                summary = self._make(shard, bar)
                made.append(shard)
                return summary

            complete = shards.make(make, start=first_shard(len(shards)))
        progress = f"{len(made)} of {len(shards)} shards made here"
        if not complete:
            return f"{self.folder}: {progress}; other processes have not finished theirs yet"
        manifest = self._finish()
        return (
            f"{self.folder}: complete ({progress}), {manifest['count']:,} images, {len(manifest['unreadable'])} left "
            f"out, digest {manifest['digest'][:16]}"
        )

    def _check_settings(self) -> None:
        """Claim the folder for these settings. BadInputError if it has other settings or other images."""
        path = self.folder / "settings.json"
        with hold(self.folder / "settings.lock", wait=True):
            if not path.exists():
                write_json(path, self.settings)
        content = read_bytes(path)
        try:
            begun = dict(json.loads(content))
            sampled = dict(begun.pop("sample"))
        except (ValueError, TypeError, KeyError) as error:
            raise BadInputError(
                f"{path} is damaged ({error!r}): choose another --prepared, or empty its folder"
            ) from error
        for name, value in self.settings.items():
            if name != "sample" and begun.get(name) != value:
                raise BadInputError(
                    f"{self.folder} was begun with {name} {begun.get(name)}, not {value}: give the same value, choose "
                    "another --prepared, or empty the folder"
                )
        for index, value in self.settings["sample"].items():
            if sampled.get(index, value) != value:  # images that were unreadable then may have been repaired
                raise BadInputError(
                    f"{self.folder} was begun with another image {self.source.name(int(index))}: give the same dataset "
                    "by --data, choose another --prepared, or empty the folder"
                )
        self.shards.check_left_out()
        for shard in filter(self.shards.is_done, range(len(self.shards))):
            self._read(shard)

    def _make(self, shard: int, bar: tqdm) -> Summary:
        """Encode a shard and write its files. Batches begin with the shard, so that interruptions change no bit."""
        shards, part = self.shards, self.shards.ranges[shard]
        for left_behind in self.folder.glob(f".*-{shard:05d}.*"):  # by a killed process: this one holds the lock
            left_behind.unlink()
        (self.folder / MANIFEST).unlink(missing_ok=True)  # of a deleted shard that is made again
        moments, hashes, unreadable = [], [], list[Unreadable]()
        for batch in self.reader.batches(part):
            moments.append(self._encode(batch))
            hashes.append(batch.hashes)
            unreadable += batch.unreadable
            bar.update(batch.count)
        files = [
            _write_array(shards.path(shard, ".npy"), np.concatenate(moments)),
            _write_array(self._hashes_path(shard), np.concatenate(hashes)),
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
        if not len(batch.indices):
            return np.empty((0, 2, *self.moments_shape), dtype=np.float16)
        pair = [self.autoencoder.moments(images) for images in (batch.images, batch.images.flip(-1))]
        moments = torch.stack(pair, dim=1).to(torch.float16)
        finite = moments.isfinite().flatten(1).all(dim=1).cpu().numpy()
        if not finite.all():
            names = [self.source.name(int(index)) for index in batch.indices[~finite]]
            raise BadInputError(
                f"--vae {self.autoencoder_source}: latents are not finite in 16 bits for {len(names)} of {len(finite)} "
                f"images, {names[0]} first; use the suite's autoencoder"
            )
        return moments.cpu().numpy()

    def _finish(self) -> dict[str, Any]:
        """The manifest, which is written if missing. BadInputError if files are damaged."""
        with hold(self.folder / "manifest.lock", wait=True):
            if not (self.folder / MANIFEST).exists():
                write_json(self.folder / MANIFEST, self._manifest())
        return read_manifest(self.folder)

    def _manifest(self) -> dict[str, Any]:
        summaries, *arrays = zip(*map(self._read, range(len(self.shards))), strict=True)
        index, hashes = map(np.concatenate, arrays)
        if not len(index):
            raise BadInputError(f"{self.dataset}: none of its {len(self.source):,} images can be read")
        labels, vae = self.source.labels[index], self.autoencoder
        manifest = {
            "format": FORMAT,
            "dataset": self.dataset,
            "image_size": self.reader.size,
            "count": len(index),
            "moments_shape": list(self.moments_shape),
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
                *(file for summary in summaries for file in summary["files"]),
            ],
            "unreadable": [image for summary in summaries for image in summary["unreadable"]],
        }
        return manifest | {"digest": manifest_digest(manifest)}

    def _read(self, shard: int) -> tuple[Summary, np.ndarray, np.ndarray]:
        """Summary, image indices and hashes of a finished shard. BadInputError if damaged or made from other images."""
        summary, part = self.shards.read(shard), self.shards.ranges[shard]
        try:
            if (summary["start"], summary["stop"]) != (part.start, part.stop):
                raise ValueError(f"images {summary['start']}..{summary['stop']}")
            for file in summary["files"]:
                if (self.folder / file["name"]).stat().st_size != file["bytes"]:
                    raise ValueError(f"{file['name']} is truncated")
            left_out = [image["index"] for image in summary["unreadable"]]
            index = np.setdiff1d(np.arange(part.start, part.stop, dtype=np.int64), left_out)
            hashes = np.load(io.BytesIO(read_bytes(self._hashes_path(shard))))
            if hashes.shape != (len(index), 32):
                raise ValueError(f"hashes of shape {hashes.shape} for {len(index)} images")
        except (FileNotFoundError, EOFError, ValueError, KeyError, TypeError) as error:
            raise self.shards.damaged(shard, error) from error
        check_ends(self.source, index, hashes, str(self.shards.path(shard)))
        return summary, index, hashes

    def _hashes_path(self, shard: int) -> Path:
        return self.folder / f"hashes-{shard:05d}.npy"


def _write_array(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write an .npy file; returns its name, size in bytes and the SHA-256 of the bytes in memory."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = buffer.getbuffer()
    write_bytes(path, content)
    return {"name": path.name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
