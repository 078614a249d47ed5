"""Training batches as a function of (seed, step) only, so that a resumed run sees the batches of an uninterrupted one.

Ranks and micro-batches ask for parts of a batch. Concatenated, the parts equal the whole batch.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from models.diffusion.randomness import generator


@dataclass(frozen=True)
class Batch:
    """Input of a training step: x0 and noise (batch, channels, size, size), timesteps t and labels y (batch,)."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    y: Tensor

    def part(self, images: slice) -> "Batch":
        """Some of its images."""
        return Batch(self.x0[images], self.noise[images], self.t[images], self.y[images])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> Tensor:
    """Image indices of a step's batch, (batch_size,): every image once an epoch, in a new order each epoch."""
    position = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = position // count
    drawn = [_permutation(seed, int(e), count)[position[epochs == e] % count] for e in epochs.unique()]
    return torch.cat(drawn)


class Source(Protocol):
    """Makes batches. `identity` holds the digests of the data."""

    identity: dict[str, str]

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """The positions `part` of a step's batch, all of them by default."""


def positions(part: range | None, batch_size: int) -> slice:
    """The positions of a part of a batch, all of them by default. ValueError if the part exceeds the batch."""
    part = range(batch_size) if part is None else part
    if part.step != 1 or not 0 <= part.start <= part.stop <= batch_size:
        raise ValueError(f"part {part} of a batch of {batch_size}")
    return slice(part.start, part.stop)


def draw_conditions(
    rng: torch.Generator, batch_size: int, timesteps: int, class_dropout: float
) -> tuple[Tensor, Tensor]:
    """Timesteps of a whole batch, (batch_size,), and the mask of dropped labels, (batch_size,) bool."""
    t = torch.randint(0, timesteps, (batch_size,), generator=rng)
    return t, torch.rand(batch_size, generator=rng) < class_dropout


class BatchSource:
    """Makes batches from images in memory.

    Args:
        x0: (count, channels, size, size) float32, as the network sees them.
        labels: (count,).
        num_classes: number of classes, also the index of the null label.
        class_dropout: probability of the null label.
        timesteps: number of timesteps of the forward process.
        digest: of the images, for `identity`.
    """

    def __init__(
        self, x0: Tensor, labels: Tensor, num_classes: int, class_dropout: float, timesteps: int, digest: str = ""
    ) -> None:
        self._x0, self._labels = x0, labels
        self._num_classes, self._class_dropout, self._timesteps = num_classes, class_dropout, timesteps
        self.identity = {"data": digest} if digest else {}

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """The positions `part` of a step's batch, all of them by default. The noise of the whole batch is sampled."""
        chosen = positions(part, batch_size)
        indices = batch_indices(seed, step, batch_size, len(self._x0))
        rng = generator(seed, "batch", step)
        t, dropped = draw_conditions(rng, batch_size, self._timesteps, self._class_dropout)
        noise = torch.randn((batch_size, *self._x0.shape[1:]), generator=rng)
        y = self._labels[indices].masked_fill(dropped, self._num_classes)
        return Batch(self._x0[indices[chosen]], noise[chosen], t[chosen], y[chosen])


class Prefetched:
    """Makes the next batch of another source in a thread while the current batch is used.

    The batches stay the same. A part that was not foreseen is made when it is asked for.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.identity = source.identity
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._pending: dict[tuple[int, int, int, range | None], Future[Batch]] = {}

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """The positions `part` of a step's batch. The thread then begins the same part of the next step."""
        foreseen = self._pending.pop((seed, step, batch_size, part), None)
        batch = foreseen.result() if foreseen else self._source.draw(seed, step, batch_size, part)
        self._forget(lambda key: key[0] != seed or key[1] not in (step, step + 1))
        key = (seed, step + 1, batch_size, part)
        if self._pool is not None and key not in self._pending:
            self._pending[key] = self._pool.submit(self._source.draw, *key)
        return batch

    def close(self) -> None:
        """Stop working ahead. `draw` still works."""
        self._forget(lambda key: True)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _forget(self, unwanted: Callable[[tuple[int, int, int, range | None]], bool]) -> None:
        for key in list(filter(unwanted, self._pending)):
            self._pending.pop(key).cancel()
