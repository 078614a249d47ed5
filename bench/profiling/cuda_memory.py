"""Peak memory of a training step and of sampling on a CUDA device; `bench.profiling.memory` computes the same.

The numbers are from torch.cuda.max_memory_allocated: bytes of tensors and of workspaces from torch's allocator. They do
not include the CUDA context, nor unused blocks of the allocator.
"""

import gc
from collections.abc import Callable
from functools import partial

import torch

from bench.machine.dtypes import autocast
from bench.machine.execution import Execution
from bench.profiling.noise import sample_twice, training_step
from models.config import ModelConfig
from models.families import build
from models.fixed_point.unroll import Unroll


def measured_training_memory(
    config: ModelConfig,
    batch_size: int,
    unroll: Unroll,
    dtype: str,
    grad_checkpointing: bool,
    device: torch.device,
) -> int:
    """Peak bytes of the trainer's second step: autocast, scaler, clipping, fused AdamW and EMA.

    Raises:
        torch.OutOfMemoryError: the device is too small.
    """
    before = _allocated(device)
    with torch.device(device):
        model = build(config).train()
    execution = Execution(grad_checkpointing=grad_checkpointing)
    step = training_step(model, config, batch_size, dtype, device, execution)
    step.take(0, unroll)
    return _peak_of(lambda: step.take(1, unroll), device) - before


def measured_sampling_memory(
    config: ModelConfig, batch_size: int, iterations: int, dtype: str, device: torch.device
) -> int:
    """Peak bytes of sampling, after a first run. OutOfMemoryError as above."""
    with torch.device(device):
        before = _allocated(device)
        model = build(config).eval()

        def run() -> None:
            sample_twice(model, config, batch_size, iterations, partial(autocast, device, dtype))

        run()
        return _peak_of(run, device) - before


def _allocated(device: torch.device) -> int:
    """Bytes of live tensors, after garbage collection."""
    gc.collect()
    return torch.cuda.memory_allocated(device)


def _peak_of(work: Callable[[], None], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)
