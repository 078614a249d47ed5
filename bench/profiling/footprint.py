"""Parameters and memory of a footprint cell: computed on every machine, also measured on a CUDA device."""

from contextlib import suppress
from dataclasses import asdict
from statistics import fmean
from typing import Any

import torch

from bench.profiling.cuda_memory import measured_sampling_memory, measured_training_memory
from bench.profiling.memory import mean_memory, sampling_memory, training_memory
from bench.sampling.setting import Setting
from bench.spec.measurements import Footprint
from models.families import family_of, parameters
from models.fixed_point.unroll import Unroll


class Footprints:
    """Measures footprints: parameters, and bytes by part; `measured_peak_bytes` where a CUDA device is large enough."""

    def __init__(self, setting: Setting, sampler: object) -> None:
        self._device = setting.device

    def skip(self, cell: Footprint) -> str:
        """Empty: every machine can compute memory."""
        return ""

    def measure(self, cell: Footprint, inputs: object) -> dict[str, Any]:
        metrics: dict[str, float] = {"parameters": parameters(cell.config), **_computed(cell)}
        if self._device.type == "cuda":
            with suppress(torch.OutOfMemoryError):  # the computed bytes hold for a larger device
                metrics["measured_peak_bytes"] = _measured(cell, self._device)
            torch.cuda.empty_cache()  # for other processes
        return {"metrics": metrics}


def _unrolls(cell: Footprint) -> list[Unroll]:
    """The unrolls whose mean a cell reports."""
    first = 1 if cell.unroll == "stochastic" and family_of(cell.config).iterates else cell.m
    return [Unroll(cell.n, m) for m in range(first, cell.m + 1)]


def _computed(cell: Footprint) -> dict[str, int]:
    if cell.phase == "sampling":
        return asdict(sampling_memory(cell.config, cell.batch_size, cell.n, cell.dtype))
    settings = cell.dtype, cell.grad_checkpointing
    return asdict(mean_memory([training_memory(cell.config, cell.batch_size, u, *settings) for u in _unrolls(cell)]))


def _measured(cell: Footprint, device: torch.device) -> int:
    if cell.phase == "sampling":
        return measured_sampling_memory(cell.config, cell.batch_size, cell.n, cell.dtype, device)
    settings = cell.dtype, cell.grad_checkpointing, device
    return round(fmean(measured_training_memory(cell.config, cell.batch_size, u, *settings) for u in _unrolls(cell)))
