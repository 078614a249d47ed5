"""Training batches, a function of (seed, step) and nothing else: a resumed run sees what an uninterrupted one would."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from models.randomness import generator


@dataclass(frozen=True)
class Batch:
    """One training step's input: x0 and noise (batch, channels, size, size), timesteps t and labels y (batch,)."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    y: Tensor


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> Tensor:
    """Indices of step's batch, (batch_size,): every image once an epoch, a new order each epoch, no remainder lost."""
    position = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = position // count
    drawn = [_permutation(seed, int(e), count)[position[epochs == e] % count] for e in epochs.unique()]
    return torch.cat(drawn)


class Source(Protocol):
    """Draws batches; `identity` names the data by digests."""

    identity: dict[str, str]

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """Positions `part` (by default all) of the batch of a step."""


class BatchSource:
    """Draws batches from encoded images.

    Args:
        x0: (count, channels, size, size) float32, as the network sees them.
        labels: (count,).
        num_classes: also the null label's index.
        class_dropout: probability of the null label.
        timesteps: of the forward process.
        digest: of the images, if they are to be told from others.
    """

    def __init__(
        self, x0: Tensor, labels: Tensor, num_classes: int, class_dropout: float, timesteps: int, digest: str = ""
    ) -> None:
        self.identity = {"data": digest} if digest else {}
        self._x0, self._labels = x0, labels
        self._num_classes, self._class_dropout, self._timesteps = num_classes, class_dropout, timesteps

    def draw(self, seed: int, step: int, batch_size: int, part: range | None = None) -> Batch:
        """Positions `part` (by default all) of the batch of a step. All of it is drawn: it is small."""
        indices = batch_indices(seed, step, batch_size, len(self._x0))
        rng = generator(seed, "batch", step)
        x0 = self._x0[indices]
        t = torch.randint(0, self._timesteps, (batch_size,), generator=rng)
        dropped = torch.rand(batch_size, generator=rng) < self._class_dropout
        noise = torch.randn(x0.shape, generator=rng)
        y = self._labels[indices].masked_fill(dropped, self._num_classes)
        kept = slice(None) if part is None else slice(part.start, part.stop)
        return Batch(x0[kept], noise[kept], t[kept], y[kept])
