"""A footprint cell -> its numbers: computed everywhere, on a CUDA device measured too."""

from contextlib import suppress
from dataclasses import asdict
from statistics import fmean

import torch

from bench.profiling.cuda_memory import measured_sampling_memory, measured_training_memory
from bench.profiling.memory import mean_memory, sampling_memory, training_memory
from bench.spec.measurements import Footprint
from models.cost import parameters
from models.fixed_point.unroll import Unroll


def measure_footprint(cell: Footprint, device: torch.device) -> dict[str, float]:
    """Parameters, and bytes by part; `measured_peak_bytes` where `device` is CUDA and large enough."""
    metrics: dict[str, float] = {"parameters": parameters(cell.config), **_computed(cell)}
    if device.type == "cuda":
        with suppress(torch.OutOfMemoryError):  # what was computed is true of a larger one
            metrics["measured_peak_bytes"] = _measured(cell, device)
        torch.cuda.empty_cache()  # for the processes that come next
    return metrics


def _draws(cell: Footprint) -> list[Unroll]:
    """The unrolls that a cell's numbers are the mean over."""
    first = 1 if cell.unroll == "stochastic" and cell.config.implicit else cell.m
    return [Unroll(cell.n, m) for m in range(first, cell.m + 1)]


def _computed(cell: Footprint) -> dict[str, int]:
    if cell.phase == "sampling":
        return asdict(sampling_memory(cell.config, cell.batch_size, cell.n, cell.precision))
    settings = cell.precision, cell.grad_checkpointing
    return asdict(mean_memory([training_memory(cell.config, cell.batch_size, u, *settings) for u in _draws(cell)]))


def _measured(cell: Footprint, device: torch.device) -> int:
    if cell.phase == "sampling":
        return measured_sampling_memory(cell.config, cell.batch_size, cell.n, cell.precision, device)
    settings = cell.precision, cell.grad_checkpointing, device
    return round(fmean(measured_training_memory(cell.config, cell.batch_size, u, *settings) for u in _draws(cell)))
