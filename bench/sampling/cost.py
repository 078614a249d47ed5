"""Cost of a cell's samples, as counted while they were sampled."""

import math

from torch import Tensor

from bench.spec.cells import Cell
from models.families import family_of, forward_macs, forward_passes

OVERSPEND = 1.01  # a cell that spends more than this times constant allocation is not compared


def cost_of(cell: Cell, taken: Tensor, executed: int) -> dict[str, float]:
    """Block passes, injections and MACs per image, and the block passes that the batches ran.

    Guidance doubles the batch; its half is left out, as in `Cell.block_passes`.

    Args:
        cell: the cell of the samples.
        taken: (samples,) iterations of each sample over all evaluations; (0,) for networks without iterations.
        executed: iterations that the batches ran, over all evaluations and batches.
    """
    config = cell.config
    family = family_of(config)
    if not family.iterates or not len(taken):
        return {"block_passes": cell.block_passes, "injections": 0, "macs": cell.macs, "comparable": True}
    iterations = taken.double().mean().item()
    batches = math.ceil(cell.protocol.samples / cell.protocol.batch_size)
    once, each = forward_passes(config, 0), forward_passes(config, 1) - forward_passes(config, 0)
    once_macs, each_macs = forward_macs(config, 0), forward_macs(config, 1) - forward_macs(config, 0)
    cost = {
        "block_passes": iterations * each + once * cell.evaluations,
        "injections": iterations * family.injections(config, 1),
        "macs": cell.evaluations * once_macs + iterations * each_macs,
    }
    cost = {name: int(value) if value == int(value) else value for name, value in cost.items()}
    ran = executed / batches * each + once * cell.evaluations
    return cost | {
        "executed_block_passes": ran,
        "comparable": cost["block_passes"] <= OVERSPEND * cell.block_passes,
    }
