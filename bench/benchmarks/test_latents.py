"""Seconds to read a batch of an encoded dataset, beside one .npy file for each image, and to draw one to train on.

Everything is in the page cache, as a dataset is that fits into memory, after its first epoch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.benchmarks.cases import LATENTS, Case
from bench.benchmarks.latent_files import write_latents
from bench.data.latents import Latents, LatentSource

ROWS, SHARD, BATCH, GLOBAL_BATCH = 4096, 1024, 64, 512
SHAPE = (2, 8, 32, 32)  # of an image's moments at 256 pixels, and of its mirror image's
ROUNDS = 200

Read = Callable[[Sequence[int], Sequence[bool]], torch.Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents in shards, and the same in a file for each image, under images/."""
    rng = np.random.default_rng(0)
    shards = [rng.standard_normal((SHARD, *SHAPE), dtype=np.float32).astype(np.float16) for _ in range(ROWS // SHARD)]
    folder = write_latents(tmp_path_factory.mktemp("latents"), shards, np.arange(ROWS) % 1000)
    (folder / "images").mkdir()
    for row, moments in enumerate(np.concatenate(shards)):
        np.save(folder / "images" / f"{row:06d}.npy", moments)
    return folder


@pytest.fixture(scope="module")
def readers(folder: Path) -> dict[str, Read]:
    """Both ways to read the moments of rows."""

    def from_files(rows: Sequence[int], mirrored: Sequence[bool]) -> torch.Tensor:
        found = torch.empty(len(rows), *SHAPE[1:])
        for place, (row, mirror) in enumerate(zip(rows, mirrored, strict=True)):
            found[place] = torch.from_numpy(np.load(folder / "images" / f"{row:06d}.npy")[int(mirror)])
        return found

    return {"read from shards": Latents.open(folder, progress=False).moments, "read a file per image": from_files}


@pytest.mark.parametrize("case", LATENTS[:2], ids=lambda case: case.part)
def test_reading(benchmark: BenchmarkFixture, readers: dict[str, Read], case: Case) -> None:
    """Seconds of 64 random rows, float32."""
    benchmark.group = case.group
    rng = np.random.default_rng(1)

    def some() -> Arguments:
        return (rng.integers(ROWS, size=BATCH).tolist(), rng.integers(2, size=BATCH).astype(bool).tolist()), {}

    for mirrored in (False, True):  # touches every page
        found = [read(range(ROWS), [mirrored] * ROWS) for read in readers.values()]
        assert torch.equal(*found)
    benchmark.pedantic(readers[case.part], setup=some, rounds=ROUNDS)


@pytest.mark.parametrize("case", LATENTS[2:], ids=lambda case: case.part)
def test_drawing(benchmark: BenchmarkFixture, folder: Path, case: Case) -> None:
    """Seconds of a rank's 64 of a batch of 512: rows, posterior samples, noise, timesteps, labels."""
    benchmark.group = case.group
    latents = Latents.open(folder, verify=False)
    for mirrored in (False, True):
        latents.moments(range(ROWS), [mirrored] * ROWS)
    source, steps = LatentSource(latents, 1000, 0.1, 1000), iter(range(ROUNDS))

    def next_step() -> Arguments:
        return (0, next(steps), GLOBAL_BATCH, range(BATCH)), {}

    benchmark.pedantic(source.draw, setup=next_step, rounds=ROUNDS)
