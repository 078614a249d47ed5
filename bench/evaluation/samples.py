"""Cells of images that are kept, and of the convergence of the fixed-point iteration along a sampling run."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from bench.evaluation.kinds import Inputs
from bench.machine.devices import hardware_name, supported_dtypes
from bench.sampling.cost import cost_of
from bench.sampling.sampler import Batch, CellSampler
from bench.sampling.setting import Setting
from bench.sampling.solvers import solver_of
from bench.spec.cells import Cell

SeriesByStep = list[list[list[float]]]


class Sampling:
    """Base of the kinds that measure samples of a trained network."""

    def __init__(self, setting: Setting, sampler: CellSampler) -> None:
        self.setting, self.sampler = setting, sampler

    def skip(self, cell: Cell) -> str:
        """Skips a GPU that does not compute in the protocol's dtype."""
        device, dtype = self.setting.device, cell.protocol.dtype
        lacking = device.type == "cuda" and dtype not in supported_dtypes(device)
        return f"{hardware_name(device)} does not compute in {dtype}" if lacking else ""

    def batches(self, cell: Cell, inputs: Inputs, record_residuals: bool = False) -> list[Batch]:
        """All batches of a cell."""
        solver = solver_of(cell, self.sampler, record_residuals)
        return list(self.sampler.batches(cell, solver, inputs.autoencoder))


def _measured(cell: Cell, batches: Sequence[Batch]) -> tuple[Tensor, dict[str, Any]]:
    """The images of all batches; cost and samples_digest of the record."""
    images, taken = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "taken"))
    cost = cost_of(cell, taken, sum(batch.executed for batch in batches))
    return images, {"cost": cost, "samples_digest": sha256(images.numpy().tobytes()).hexdigest()}


class Images(Sampling):
    """Images that are kept as a picture."""

    def measure(self, cell: Cell, inputs: Inputs) -> dict[str, Any]:
        images, measured = _measured(cell, self.batches(cell, inputs))
        self.setting.store.write_images(cell, images.numpy())
        return measured


class Convergence(Sampling):
    """Residuals of the fixed-point iteration (the paper's Figures 6b and 6c)."""

    def measure(self, cell: Cell, inputs: Inputs) -> dict[str, Any]:
        batches = self.batches(cell, inputs, record_residuals=True)
        series = {"residuals": residual_series([batch.residuals for batch in batches])}
        return {"series": series} | _measured(cell, batches)[1]


def residual_series(batches: Sequence[Sequence[Tensor]]) -> SeriesByStep:
    """Mean residual by batch, step and iteration, to four digits.

    Args:
        batches: for each batch, the residuals of each step, (iterations, batch): the relative change
            ||f(z) - z|| / ||f(z)||, the paper's delta_t made comparable across timesteps.
    """
    means = [torch.stack([step.double().mean(1) for step in steps]) for steps in batches]
    return [[[float(f"{v:.4g}") for v in row] for row in table.tolist()] for table in means]
