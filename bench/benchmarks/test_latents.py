"""Times reading a batch of latents from shards and from one .npy file per image, and making a training batch of them.

All files are in the page cache, as they are after the first epoch if the dataset fits into memory.
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
SHAPE = (2, 8, 32, 32)  # moments of a 256-pixel image and of its mirror image
ROUNDS = 200

Read = Callable[[Sequence[int], Sequence[bool]], torch.Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with latents in shards and, under images/, the same latents in one file per image."""
    rng = np.random.default_rng(0)
    shards = [rng.standard_normal((SHARD, *SHAPE), dtype=np.float32).astype(np.float16) for _ in range(ROWS // SHARD)]
    folder = write_latents(tmp_path_factory.mktemp("latents"), shards, np.arange(ROWS) % 1000)
    (folder / "images").mkdir()
    for row, moments in enumerate(np.concatenate(shards)):
        np.save(folder / "images" / f"{row:06d}.npy", moments)
    return folder


@pytest.fixture(scope="module")
def readers(folder: Path) -> dict[str, Read]:
    """The two functions that read the moments of some rows, by the names of their benchmarks."""

    def from_files(rows: Sequence[int], mirrored: Sequence[bool]) -> torch.Tensor:
        found = torch.empty(len(rows), *SHAPE[1:])
        for place, (row, mirror) in enumerate(zip(rows, mirrored, strict=True)):
            found[place] = torch.from_numpy(np.load(folder / "images" / f"{row:06d}.npy")[int(mirror)])
        return found

    return {"read from shards": Latents.open(folder, progress=False).moments, "read a file per image": from_files}


@pytest.mark.parametrize("case", LATENTS[:2], ids=lambda case: case.part)
def test_reading(benchmark: BenchmarkFixture, readers: dict[str, Read], case: Case) -> None:
    """Time reading 64 random rows as float32."""
    benchmark.group = case.group
    rng = np.random.default_rng(1)

    def some() -> Arguments:
        return (rng.integers(ROWS, size=BATCH).tolist(), rng.integers(2, size=BATCH).astype(bool).tolist()), {}

    for mirrored in (False, True):  # brings every page into the cache
        found = [read(range(ROWS), [mirrored] * ROWS) for read in readers.values()]
        assert torch.equal(*found)
    benchmark.pedantic(readers[case.part], setup=some, rounds=ROUNDS)


@pytest.mark.parametrize("case", LATENTS[2:], ids=lambda case: case.part)
def test_making(benchmark: BenchmarkFixture, folder: Path, case: Case) -> None:
    """Time making one rank's 64 images of a batch of 512: rows, posterior samples, noise, timesteps, labels."""
    benchmark.group = case.group
    latents = Latents.open(folder, verify=False)
    for mirrored in (False, True):
        latents.moments(range(ROWS), [mirrored] * ROWS)
    source, steps = LatentSource(latents, 1000, 0.1, 1000), iter(range(ROUNDS))

    def next_step() -> Arguments:
        return (0, next(steps), GLOBAL_BATCH, range(BATCH)), {}

    benchmark.pedantic(source.draw, setup=next_step, rounds=ROUNDS)
