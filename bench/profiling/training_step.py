"""A training step on noise, as the trainer's: what it takes does not depend on what is learned."""

from collections.abc import Callable
from functools import partial

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.profiling.memory import training_loss
from bench.system.dtypes import autocast
from models.fixed_point.unroll import Unroll
from models.networks.dit import DiT
from models.networks.fpdm import FPDM
from models.zoo import ModelConfig


def make_training_step(
    model: DiT | FPDM, config: ModelConfig, batch_size: int, precision: str, device: torch.device
) -> Callable[[Unroll], None]:
    """Makes step(unroll): forward, backward, clipping, fused AdamW and EMA. A DiT ignores the unroll."""
    weights = list(model.parameters())
    optimizer, ema = torch.optim.AdamW(weights, fused=True), [p.detach().clone() for p in weights]
    # not the default scale, with which the first step might overflow and be skipped: it makes the moments
    scaler = torch.amp.GradScaler(device.type, init_scale=1.0, enabled=precision == "fp16")

    def step(unroll: Unroll) -> None:
        with torch.device(device):
            loss = training_loss(model, config, batch_size, unroll, partial(autocast, device, precision))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        get_ema_multi_avg_fn(0.999)(ema, weights, 1)

    return step
