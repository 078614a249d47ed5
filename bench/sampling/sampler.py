"""Sampler of cells: a cell's network, its schedule, its batches of images and their cost."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.machine.dtypes import autocast
from bench.sampling.decoding import Decoder, load_decoder
from bench.sampling.setting import Setting
from bench.sampling.weights import load_weights
from bench.spec.cells import Cell
from bench.system.errors import BadInputError
from bench.training.clock import seconds_of
from models.config import ModelConfig
from models.diffusion.sampling import Guidance, Sampled, SampleNoise, sample
from models.diffusion.timesteps import TIMESTEPS, Step, make_schedule, select_timesteps
from models.families import build
from models.fixed_point.solvers import FixedCount, Solver
from models.networks.compiled import compile_regions
from models.networks.network import Network

PROBE_SAMPLES = 64  # for the search of adaptive allocation's threshold; they are not evaluated


class DivergedError(Exception):
    """Samples or metrics are not finite."""


@dataclass(frozen=True)
class Batch:
    """A batch of images and its cost.

    Attributes:
        images: uint8 (batch, channels, size, size), on the CPU.
        taken: (batch,), iterations of each sample over all evaluations; (0,) for networks without iterations.
        executed: iterations that the batch ran, over all evaluations.
        residuals: (iterations, batch) of each evaluation, where the solver records them.
        sampling_s, decoding_s: seconds.
    """

    images: Tensor
    taken: Tensor
    executed: int
    residuals: list[Tensor]
    sampling_s: float
    decoding_s: float


def schedule_of(cell: Cell) -> tuple[Step, ...]:
    """The steps of a cell's sampling run."""
    timesteps = select_timesteps(cell.steps, cell.protocol.spacing, TIMESTEPS)
    return make_schedule(timesteps, cell.counts)


class CellSampler:
    """Samples cells of one suite; the last network and the decoder are kept between cells."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._network: tuple[tuple[str, ModelConfig], Network, str] | None = None
        self._decoders: dict[tuple[str, str, str | None], Decoder] = {}

    def network(self, cell: Cell) -> tuple[Network, str]:
        """The cell's network with its EMA weights, and their digest. BadInputError if they are unusable."""
        run, key = cell.run, (cell.run.name, cell.config)
        if self._network is None or self._network[0] != key:
            weights, digest = load_weights(self._setting.store, run)
            network = build(cell.config)
            try:
                network.load_state_dict(weights)
            except RuntimeError as error:
                raise BadInputError(f"weights of {run.name} do not fit its network: {error}") from error
            network = network.to(self._setting.device).eval()
            if self._setting.execution.compiled:
                compile_regions(network)
            self._network = key, network, digest
        return self._network[1], self._network[2]

    def batches(
        self, cell: Cell, solver: Callable[[int], Solver], autoencoder: str | None, start: int = 0
    ) -> Iterator[Batch]:
        """The cell's images in batches, from batch number `start` on; sample i depends on i only.

        Args:
            cell: the cell to sample.
            solver: makes the solver of a step from its number of iterations.
            autoencoder: digest of the autoencoder that encoded the run's latents, if it is known.
            start: number of the first batch.

        Raises:
            DivergedError: samples are not finite.
        """
        decoder = self._decoder(cell, autoencoder)
        samples, size = cell.protocol.samples, cell.protocol.batch_size
        for first in range(start * size, samples, size):
            begun = time.perf_counter()
            sampled = self.sample(cell, range(first, min(first + size, samples)), solver)
            finite = sampled.x.isfinite().all().item()  # waits for the device
            done = time.perf_counter()
            if not finite:
                raise DivergedError("samples are not finite")
            images = decoder.decode(sampled.x).cpu()
            decoding_s = time.perf_counter() - done
            taken, residuals = sampled.taken.cpu(), sampled.residuals
            yield Batch(images, taken, sampled.executed, residuals, done - begun, decoding_s)

    def sample(self, cell: Cell, indices: range, solver: Callable[[int], Solver], purpose: str = "sample") -> Sampled:
        """Samples of these indices. `purpose` separates streams of noise."""
        config, protocol, device, process = cell.config, cell.protocol, self._setting.device, cell.run.process
        shape = (config.in_channels, config.input_size, config.input_size)
        labels = torch.tensor([i % max(config.num_classes, 1) for i in indices], device=device)
        guidance = None
        if protocol.guidance_scale != 1:
            guidance = Guidance(protocol.guidance_scale, protocol.guidance_channels, config.num_classes)
        with autocast(device, protocol.dtype):
            return sample(
                process.denoiser(self.network(cell)[0]),
                process.noise_schedule(),
                schedule_of(cell),
                labels,
                SampleNoise(cell.seed, indices, shape, device, purpose),
                sampler=cell.sampler,
                reuse=cell.reuse,
                guidance=guidance,
                solver=solver,
            )

    def warm_up(self, cell: Cell) -> float:
        """Compile the network for every batch size of the cell; returns the seconds, 0 if it runs eager."""
        if not self._setting.execution.compiled:
            return 0.0
        short, samples, batch = replace(cell, steps=min(cell.steps, 2)), cell.protocol.samples, cell.protocol.batch_size
        counts = {1, min(batch, samples), samples % batch or batch}
        counts |= {PROBE_SAMPLES} if cell.allocation == "adaptive" else set()
        return sum(
            seconds_of(lambda: self.sample(short, range(count), FixedCount), self._setting.device)  # noqa: B023
            for count in counts
        )

    def _decoder(self, cell: Cell, autoencoder: str | None) -> Decoder:
        key = cell.run.suite, cell.run.dataset, autoencoder
        if key not in self._decoders:
            self._decoders[key] = load_decoder(cell.run, self._setting.places, self._setting.device, autoencoder)
        return self._decoders[key]
