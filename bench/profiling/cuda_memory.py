"""Peak memory of a training step and of sampling, measured on a CUDA device, as `bench.profiling.memory` computes it.

Measured is the maximum of what tensors hold, torch.cuda.max_memory_allocated, workspaces from torch's allocator
included; the CUDA context, and blocks that the allocator keeps unused, are not.
"""

import gc
from collections.abc import Callable
from functools import partial

import torch

from bench.profiling.memory import sample_twice
from bench.profiling.training_step import make_training_step
from bench.system.dtypes import autocast
from models.fixed_point.unroll import Unroll
from models.zoo import ModelConfig, build


def measured_training_memory(
    config: ModelConfig,
    batch_size: int,
    unroll: Unroll,
    precision: str,
    grad_checkpointing: bool,
    device: torch.device,
) -> int:
    """Peak bytes of a step as the trainer's (autocast, scaler, clipping, fused AdamW, EMA), the first aside.

    Raises:
        torch.OutOfMemoryError: the device is too small.
    """
    before = _allocated(device)
    with torch.device(device):
        model = build(config).train()
    model.set_grad_checkpointing(grad_checkpointing)
    step = make_training_step(model, config, batch_size, precision, device)
    step(unroll)
    return _peak_of(lambda: step(unroll), device) - before


def measured_sampling_memory(
    config: ModelConfig, batch_size: int, iterations: int, precision: str, device: torch.device
) -> int:
    """Peak bytes of sampling, after a first run. OutOfMemoryError as above."""
    with torch.device(device):
        before = _allocated(device)
        model = build(config).eval()

        def run() -> None:
            sample_twice(model, config, batch_size, iterations, partial(autocast, device, precision))

        run()
        return _peak_of(run, device) - before


def _allocated(device: torch.device) -> int:
    """Bytes that tensors hold, after dropping those that nobody can reach."""
    gc.collect()
    return torch.cuda.memory_allocated(device)


def _peak_of(work: Callable[[], None], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)
