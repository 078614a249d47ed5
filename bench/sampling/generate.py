"""Samples of a cell: its network, its schedule, its solver; and what the solver did meanwhile."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bench.profiling.timing import seconds_of
from bench.spec.cells import Cell
from bench.store.records import Store
from bench.system.dtypes import autocast
from bench.system.errors import BadInputError
from bench.system.execution import EAGER, Execution
from bench.training import checkpoint
from models.diffusion.allocation import allocate, find_threshold
from models.diffusion.sampling import Denoiser, Guidance, SampleNoise, Step, make_schedule, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS, select_timesteps
from models.fixed_point.accelerated import Anderson, Broyden
from models.fixed_point.solvers import FixedCount, Function, Solution, Solver, Tolerance
from models.networks.compiled import compile_regions
from models.zoo import build

PROBE_SAMPLES = 64  # that the threshold of adaptive allocation is searched with; they are not evaluated
SAFETY = 0.995  # of the budget is what the search aims at: other samples spend a little more or less


def schedule_of(cell: Cell) -> tuple[Step, ...]:
    """The steps of a cell's sampling run."""
    timesteps = select_timesteps(cell.steps, cell.protocol.spacing, TIMESTEPS)
    return make_schedule(timesteps, allocate(cell.allocation, cell.steps, cell.iterations))


@dataclass
class Observer:
    """Makes solvers that note what they did: iterations that each sample took, and residuals where recorded.

    Attributes:
        make: the solver that spends a number of iterations.
        taken: iterations of each sample, (batch,), summed over the steps so far.
        executed: iterations that the batch ran, summed over the steps: until its last sample was done.
        residuals: (iterations, batch) of each step, where the solver records them.
    """

    make: Callable[[int], Solver]
    taken: Tensor | None = None
    executed: int = 0
    residuals: list[Tensor] = field(default_factory=list)

    def __call__(self, iterations: int) -> Solver:
        solver = self.make(iterations)

        def solve(f: Function, z0: Tensor) -> Solution:
            calls = 0

            def counted(z: Tensor) -> Tensor:
                nonlocal calls
                calls += 1
                return f(z)

            solution = solver(counted, z0)
            self.taken = solution.evaluations if self.taken is None else self.taken + solution.evaluations
            self.executed += calls
            if solution.residuals is not None:
                self.residuals.append(solution.residuals)
            return solution

        return solve

    def clear(self) -> None:
        """Begin anew, as for another batch."""
        self.taken, self.executed, self.residuals = None, 0, []


class Generator:
    """Draws the samples of cells of one suite on one device; the last weights are kept between cells.

    Args:
        store: where checkpoints are.
        device: where to sample.
        execution: how networks are run.
    """

    def __init__(self, store: Store, device: torch.device, execution: Execution = EAGER) -> None:
        self._store, self._device, self._execution = store, device, execution
        self._model: tuple[str, Denoiser, str] | None = None
        self._noise_schedule = linear_schedule(TIMESTEPS)

    def solver(self, cell: Cell, record_residuals: bool = False) -> Callable[[int], Solver]:
        """What spends a step's iterations: for adaptive allocation, until a threshold that meets the budget.

        Raises:
            ValueError: unknown solver.
        """
        if cell.allocation == "adaptive":
            threshold = self.threshold(cell)
            return lambda limit: Tolerance(threshold, limit)
        match cell.solver:
            case "iteration":
                return lambda k: FixedCount(k, record_residuals)
            case "anderson":
                return Anderson
            case "broyden":
                return Broyden
        raise ValueError(f"solver must be iteration, anderson or broyden, got {cell.solver!r}")

    def threshold(self, cell: Cell) -> float:
        """The residual at which adaptive allocation ends a step, so that the mean spent meets the cell's budget."""

        def spend(threshold: float) -> float:
            observer = Observer(lambda limit: Tolerance(threshold, limit))
            self.sample(cell, range(PROBE_SAMPLES), observer, purpose="probe")
            assert observer.taken is not None
            return observer.taken.double().mean().item()

        return find_threshold(spend, SAFETY * cell.iterations * cell.steps)[0]

    def warm_up(self, cell: Cell) -> float:
        """Have the network compiled for every batch that the cell takes; the seconds it took, 0 if it runs eager."""
        if not self._execution.compiled:
            return 0.0
        short, samples, batch = replace(cell, steps=min(cell.steps, 2)), cell.protocol.samples, cell.protocol.batch_size
        counts = {1, min(batch, samples), samples % batch or batch}
        counts |= {PROBE_SAMPLES} if cell.allocation == "adaptive" else set()
        return sum(
            seconds_of(lambda: self.sample(short, range(count), FixedCount), self._device)  # noqa: B023
            for count in counts
        )

    def batches(self, cell: Cell, solver: Callable[[int], Solver], start: int = 0) -> Iterator[Tensor]:
        """The cell's samples in batches (batch, channels, size, size), not clipped; sample i depends on i only.

        `start` is the number of the first batch that is wanted.
        """
        samples, size = cell.protocol.samples, cell.protocol.batch_size
        for first in range(start * size, samples, size):
            yield self.sample(cell, range(first, min(first + size, samples)), solver)

    def sample(self, cell: Cell, indices: range, solver: Callable[[int], Solver], purpose: str = "sample") -> Tensor:
        """Samples of these indices, (batch, channels, size, size). `purpose` separates streams of noise."""
        config, protocol = cell.run.config, cell.protocol
        shape = (config.in_channels, config.input_size, config.input_size)
        labels = torch.tensor([i % max(config.num_classes, 1) for i in indices], device=self._device)
        guidance = None
        if protocol.guidance_scale != 1:
            guidance = Guidance(protocol.guidance_scale, protocol.guidance_channels, config.num_classes)
        with autocast(self._device, protocol.precision):
            return sample(
                self.denoiser(cell)[0],
                self._noise_schedule,
                schedule_of(cell),
                labels,
                SampleNoise(cell.seed, indices, shape, self._device, purpose),
                sampler=cell.sampler,
                reuse=cell.reuse,
                guidance=guidance,
                solver=solver,
            )

    def denoiser(self, cell: Cell) -> tuple[Denoiser, str]:
        """The cell's network with its EMA weights, and their digest. BadInputError if its checkpoint is unusable."""
        if self._model is None or self._model[0] != cell.run.name:
            weights, digest = checkpoint.load_ema(self._store.checkpoint_folder(cell.run), cell.run)
            model = build(cell.run.config)
            try:
                model.load_state_dict(weights)
            except RuntimeError as error:
                raise BadInputError(f"checkpoint of {cell.run.name} does not fit its model: {error}") from error
            model = model.to(self._device).eval()
            if self._execution.compiled:
                compile_regions(model)
            self._model = cell.run.name, model, digest
        return self._model[1], self._model[2]
