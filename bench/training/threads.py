"""Pieces of a batch at the same time, each in a thread of its own, on the cores of a CPU.

Torch divides each operation among its threads, and they wait for each other after each one. Threads that compute a
piece of the batch each wait for each other once a step: on two cores a training step at digits size takes 0.8 of the
time.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

LEAST_IMAGES = 32  # in a piece; the overhead of an operation is a few percent then

Result = TypeVar("Result")


class BatchThreads:
    """Computes pieces of a batch side by side.

    Several threads must not accumulate gradients in the parameters at once: use `torch.autograd.grad`, then `add`.

    Args:
        threads: torch's threads that are shared out; 1 for whole batches.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def count(self, images: int) -> int:
        """Into how many pieces a batch is cut."""
        return max(1, min(self._threads, images // LEAST_IMAGES))

    def each(self, images: int) -> int:
        """Torch's threads of each piece."""
        return max(1, self._threads // self.count(images))

    def pieces(self, images: int) -> list[slice]:
        """Positions in a batch, cut as evenly as possible."""
        count = self.count(images)
        return [slice(i * images // count, (i + 1) * images // count) for i in range(count)]

    def map(
        self, function: Callable[[slice], Result], pieces: Sequence[slice], one_by_one: bool = False
    ) -> list[Result]:
        """The results for all pieces, in order. If one fails, its error is raised when all have ended.

        Args:
            function: computes a piece.
            pieces: as `pieces` cuts them.
            one_by_one: no two pieces at the same time, as torch needs it where it compiles.
        """
        futures = []
        for piece in pieces:
            futures.append(self._pool.submit(self._call, function, piece, self._threads // len(pieces)))
            if one_by_one:
                wait(futures)
        errors = [error for error in [future.exception() for future in futures] if error is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="batch")

    @staticmethod
    def _call(function: Callable[[slice], Result], piece: slice, threads: int) -> Result:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)  # of this thread only
        return function(piece)


def add(parameters: Sequence[Tensor], gradients: Sequence[Sequence[Tensor | None]]) -> None:
    """Add gradients to those of the parameters, piece by piece."""
    for piece in gradients:
        for p, g in zip(parameters, piece, strict=True):
            if g is not None:
                p.grad = g if p.grad is None else p.grad.add_(g)
