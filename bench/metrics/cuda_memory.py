"""Peak memory of a training step and of sampling, measured on a CUDA device, as `bench.metrics.memory` computes it.

Measured is the maximum of what tensors hold, torch.cuda.max_memory_allocated, workspaces from torch's allocator
included; the CUDA context, and blocks that the allocator keeps unused, are not.
"""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.metrics.memory import PRECISIONS, sample_twice, training_loss
from models.unroll import Unroll
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
    with torch.device(device):
        before = _allocated(device)
        model = build(config).train()
        model.set_grad_checkpointing(grad_checkpointing)
        weights = list(model.parameters())
        optimizer, ema = torch.optim.AdamW(weights, fused=True), [p.detach().clone() for p in weights]
        # not the default scale, with which the first step might overflow and be skipped: it makes the moments
        scaler = torch.amp.GradScaler(device.type, init_scale=1.0, enabled=precision == "fp16")

        def step() -> None:
            loss = training_loss(model, config, batch_size, unroll, partial(_autocast, device, precision))
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            get_ema_multi_avg_fn(0.999)(ema, weights, 1)

        step()
        return _peak_of(step, device) - before


def measured_sampling_memory(
    config: ModelConfig, batch_size: int, iterations: int, precision: str, device: torch.device
) -> int:
    """Peak bytes of sampling, after a first run. OutOfMemoryError as above."""
    with torch.device(device):
        before = _allocated(device)
        model = build(config).eval()

        def run() -> None:
            sample_twice(model, config, batch_size, iterations, partial(_autocast, device, precision))

        run()
        return _peak_of(run, device) - before


def _autocast(device: torch.device, precision: str) -> AbstractContextManager:
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _allocated(device: torch.device) -> int:
    """Bytes that tensors hold, after dropping those that nobody can reach."""
    gc.collect()
    return torch.cuda.memory_allocated(device)


def _peak_of(work: Callable[[], None], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)
