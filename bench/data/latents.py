"""Encoded datasets on disk, as bench/encode_latents.py writes them, and training batches from them.

<folder>/manifest.json       list of the files, with sizes and digests; written last
<folder>/moments-00007.npy   (images, 2, 2 * channels, height, width) float16: mean and log-variance of each image's
                             latent, then of its mirror image's
<folder>/hashes-00007.npy    (images, 32) uint8: SHA-256 of each image file (`bench.data.decoding.decode_and_hash`)
<folder>/labels.npy          (count,) int64
<folder>/index.npy           (count,) int64: index of each image in the dataset as published
"""

import errno
import io
import json
import math
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.data.batches import Batch, batch_indices, draw_conditions, positions
from bench.system.errors import BadInputError, naming
from bench.system.files import read_bytes, read_if_there
from bench.system.progress import interval_s
from models.diffusion.randomness import generator

FORMAT = 1
MANIFEST = "manifest.json"
_VERIFYING_THREADS = 8


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256, in hex, of a manifest without its own digest and without the path or id of the autoencoder."""
    kept = {name: value for name, value in manifest.items() if name != "digest"}
    kept["vae"] = {name: value for name, value in manifest["vae"].items() if name != "source"}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder. BadInputError if it is missing, damaged or in another format."""
    path = folder / MANIFEST
    if (content := read_if_there(path)) is None:
        raise BadInputError(f"{path}: no such file; bench/encode_latents.py encodes a dataset")
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise BadInputError(f"{path}: format {manifest['format']}, expected {FORMAT}: encode the dataset again")
        if manifest["digest"] != manifest_digest(manifest):
            raise ValueError("its content does not match its digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path} is damaged ({error}): delete it and run bench/encode_latents.py again") from error
    return manifest


class _Shard:
    """The moments in a file, (images, 2, 2 * channels, height, width), read image by image.

    They are not mapped into memory: if a mapped file is truncated or its server is gone, SIGBUS ends the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with naming(path):
            header = np.load(path, mmap_mode="r")
            self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self.shape, self._dtype, self._offset = header.shape, header.dtype, header.offset

    def read(self, row: int, mirror: int) -> np.ndarray:
        """Moments of an image or its mirror image, (2 * channels, height, width). OSError if they cannot be read."""
        shape = self.shape[2:]
        size = math.prod(shape) * self._dtype.itemsize
        with naming(self._path):
            content = os.pread(self._file, size, self._offset + (2 * row + mirror) * size)
            if len(content) != size:
                raise OSError(errno.EIO, "was truncated")
        return np.frombuffer(bytearray(content), self._dtype).reshape(shape)


class Latents:
    """An encoded dataset on disk: moments of any image are read when asked for.

    Attributes:
        manifest: the content of manifest.json.
        labels: (count,) int64.
        shape: shape of one latent, (channels, height, width).
        scaling_factor, shift_factor: x0 = (z - shift_factor) * scaling_factor.
        digest: of the manifest.
        autoencoder_digest: of the autoencoder that encoded the images.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        vae = manifest["vae"]
        self.scaling_factor, self.shift_factor = float(vae["scaling_factor"]), float(vae["shift_factor"])
        self.digest, self.autoencoder_digest = str(manifest["digest"]), str(vae["digest"])
        channels, height, width = manifest["moments_shape"]
        self.shape = (channels // 2, height, width)
        self.labels = torch.from_numpy(np.load(io.BytesIO(read_bytes(folder / "labels.npy"))))
        shards = [file for file in manifest["files"] if file.get("images")]
        self._moments = [_Shard(folder / file["name"]) for file in shards]
        self._starts = np.cumsum([0, *(moments.shape[0] for moments in self._moments)])
        shapes = {moments.shape[1:] for moments in self._moments}
        if shapes != {(2, channels, height, width)} or not self._starts[-1] == len(self.labels) == manifest["count"]:
            raise BadInputError(f"{folder}: the files do not match the manifest; encode the dataset again")

    @classmethod
    def open(cls, folder: Path, verify: bool = True, progress: bool = True) -> "Latents":
        """Open a folder of latents.

        Args:
            folder: has manifest.json.
            verify: check the SHA-256 of every file; otherwise only sizes are checked.
            progress: show a progress bar of the check.

        Raises:
            BadInputError: the manifest or a file is missing, truncated or altered.
        """
        manifest = read_manifest(folder)
        for file in manifest["files"]:
            _check_size(folder / file["name"], file["bytes"])
        if verify:
            _check_hashes(folder, manifest["files"], progress)
        try:
            return cls(folder, manifest)
        except (EOFError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"{folder}: cannot be read ({error}); encode the dataset again") from error

    def __len__(self) -> int:
        return len(self.labels)

    def moments(self, rows: Sequence[int] | Tensor, mirrored: Sequence[bool] | Tensor) -> Tensor:
        """Mean and log-variance of images, (batch, 2 * channels, height, width) float32.

        Args:
            rows: (batch,), 0..len - 1.
            mirrored: (batch,), whether to read the moments of the mirror image.
        """
        wanted, mirrors = np.asarray(rows, dtype=np.int64), np.asarray(mirrored, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows {wanted.min()}..{wanted.max()} of {len(self)}")
        channels, height, width = self.shape
        found = torch.empty(len(wanted), 2 * channels, height, width)
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        for place, (shard, row, mirror) in enumerate(zip(shards, wanted - self._starts[shards], mirrors, strict=True)):
            # torch converts float16 faster than numpy, and starts no threads for one image
            found[place] = torch.from_numpy(self._moments[shard].read(int(row), int(mirror)))
        return found


def _damaged(path: Path, what: str) -> BadInputError:
    shard = path.stem.rpartition("-")[2]
    remake = f"moments-{shard}.json and {MANIFEST}" if shard.isdigit() else MANIFEST
    return BadInputError(f"{path} {what}: delete {remake} beside it and run bench/encode_latents.py again")


def _check_size(path: Path, expected: int) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise _damaged(path, f"is missing ({error.strerror})") from error
    if size != expected:
        raise _damaged(path, f"has {size:,} bytes, expected {expected:,}")


def _check_hashes(folder: Path, files: Sequence[dict[str, Any]], progress: bool) -> None:
    with (
        ThreadPoolExecutor(_VERIFYING_THREADS) as pool,
        tqdm(
            desc=f"verify {folder}",
            total=sum(file["bytes"] for file in files),
            unit="B",
            unit_scale=True,
            mininterval=interval_s(),
            disable=not progress,
        ) as bar,
    ):
        try:
            for file, found in zip(files, pool.map(lambda file: _sha256(folder / file["name"]), files), strict=True):
                if found != file["sha256"]:
                    raise _damaged(folder / file["name"], "was changed")
                bar.update(file["bytes"])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _sha256(path: Path) -> str:
    with naming(path), path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


class LatentSource:
    """Makes batches from an encoded dataset: half of the images are mirrored, latents are sampled from their posterior.

    x0 = (mean + exp(log-variance / 2) * e - shift_factor) * scaling_factor, e ~ N(0, 1). Noise and e are keyed by the
    position in the batch, so that a rank makes its own part only.

    Args:
        latents: the dataset.
        num_classes: number of classes, also the index of the null label; 0 for a dataset without classes.
        class_dropout: probability of the null label.
        timesteps: number of timesteps of the forward process.
    """

    def __init__(self, latents: Latents, num_classes: int, class_dropout: float, timesteps: int) -> None:
        self._latents = latents
        self._num_classes, self._class_dropout, self._timesteps = num_classes, class_dropout, timesteps
        self.digest, self.autoencoder_digest = latents.digest, latents.autoencoder_digest
        self.identity = {
            "data": latents.digest,
            "images": str(latents.manifest["images_digest"]),
            "vae": latents.autoencoder_digest,
        }

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """The positions `part` of a step's batch, all of them by default."""
        chosen = positions(part, batch_size)
        rows = batch_indices(seed, step, batch_size, len(self._latents))[chosen]
        rng = generator(seed, "batch", step)
        t, dropped = draw_conditions(rng, batch_size, self._timesteps, self._class_dropout)
        mirrored = torch.rand(batch_size, generator=rng) < 0.5
        y = self._latents.labels[rows].masked_fill(dropped[chosen], self._num_classes)
        moments = self._latents.moments(rows, mirrored[chosen])
        x0, noise = torch.empty(2, len(rows), *self._latents.shape)
        for place, position in enumerate(range(chosen.start, chosen.stop)):
            drawn = torch.randn((2, *self._latents.shape), generator=generator(seed, "noise", step, position))
            noise[place] = drawn[0]
            # One image at a time: vectorised arithmetic may round by memory alignment, and so by the part. In numpy:
            # torch would start its threads for each exponential.
            x0[place] = torch.from_numpy(self._sample(moments[place].numpy(), drawn[1].numpy()))
        return Batch(x0, noise, t[chosen], y)

    def _sample(self, moments: np.ndarray, e: np.ndarray) -> np.ndarray:
        mean, log_variance = np.split(moments, 2)
        z = mean + np.exp(np.float32(0.5) * log_variance) * e
        return (z - np.float32(self._latents.shift_factor)) * np.float32(self._latents.scaling_factor)
