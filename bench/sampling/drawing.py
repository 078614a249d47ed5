"""The images of cells, drawn and decoded batch by batch, and what they were counted to cost."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.sampling.decoding import Codec, load_codec
from bench.sampling.generate import Generator, Observer
from bench.spec.assets import Assets
from bench.spec.cells import Cell
from bench.store.records import Store
from bench.system.execution import Execution
from models.cost import forward_macs
from models.fixed_point.solvers import Solver

OVERSPEND = 1.01  # times what constant allocation spends: what a cell may spend and still be compared


class DivergedError(Exception):
    """Samples that are not finite."""


@dataclass(frozen=True)
class Batch:
    """Some images and what they took.

    Attributes:
        images: uint8 (batch, channels, size, size), on the CPU.
        taken: (batch,), iterations of each sample over all steps; of explicit networks (0,).
        executed: iterations that the batch ran, over all steps.
        residuals: (iterations, batch) of each step, where the solver records them.
        sampling_s, decoding_s: seconds.
    """

    images: Tensor
    taken: Tensor
    executed: int
    residuals: list[Tensor]
    sampling_s: float
    decoding_s: float


class Drawer:
    """Draws the images of cells of one suite on one device; weights and decoders are kept between cells.

    Args:
        store: where checkpoints are.
        device: where to sample.
        execution: how networks are run.
        assets: where a latent suite's autoencoder is.
    """

    def __init__(self, store: Store, device: torch.device, execution: Execution, assets: Assets) -> None:
        self.generator = Generator(store, device, execution)
        self._store, self._device, self._assets = store, device, assets
        self._codecs: dict[tuple[str, str, str | None], Codec] = {}

    def batches(self, cell: Cell, make: Callable[[int], Solver], start: int = 0) -> Iterator[Batch]:
        """A cell's batches from number `start` on, with solvers that `make` makes.

        Raises:
            DivergedError: samples are not finite.
        """
        observer, codec = Observer(make), self._codec(cell)
        batches = self.generator.batches(cell, observer, start)
        while True:
            begun = time.perf_counter()
            samples = next(batches, None)
            if samples is None:
                return
            finite = samples.isfinite().all().item()  # waits for the device
            sampled = time.perf_counter()
            if not finite:
                raise DivergedError("samples are not finite")
            images = codec.decode(samples).cpu()
            decoded = time.perf_counter()
            taken = torch.zeros(0, dtype=torch.int64) if observer.taken is None else observer.taken.cpu()
            yield Batch(images, taken, observer.executed, observer.residuals, sampled - begun, decoded - sampled)
            observer.clear()

    def _codec(self, cell: Cell) -> Codec:
        vae = (self._store.read_training(cell.run) or {}).get("vae")
        key = cell.run.suite, cell.run.dataset, vae
        if key not in self._codecs:
            self._codecs[key] = load_codec(cell.run, self._assets, self._device, vae)
        return self._codecs[key]


def spent(cell: Cell, taken: Tensor, executed: int) -> dict[str, float]:
    """Spent per image, as counted: what its samples took, and what their batches ran meanwhile.

    Guidance's second half of the batch is left out, as in the cell's own account.

    Args:
        cell: whose images they are.
        taken, executed: as in `Batch`, of all batches.
    """
    config = cell.run.config
    if not config.implicit or not len(taken):
        return {"block_passes": cell.block_passes, "injections": 0, "macs": cell.macs, "comparable": True}
    injections = taken.double().mean().item()
    passes = injections + (cell.n_pre + cell.n_post) * cell.steps
    iteration_macs = forward_macs(config, 1) - forward_macs(config, 0)
    batches = math.ceil(cell.protocol.samples / cell.protocol.batch_size)
    cost = {
        "block_passes": passes,
        "injections": injections,
        "macs": cell.steps * forward_macs(config, 0) + injections * iteration_macs,
    }
    cost = {name: int(value) if value == int(value) else value for name, value in cost.items()}
    ran = executed / batches + (cell.n_pre + cell.n_post) * cell.steps
    return cost | {"executed_block_passes": ran, "comparable": passes <= OVERSPEND * cell.block_passes}
