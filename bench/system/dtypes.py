"""Arithmetic of networks: float32, or autocast to half of its bits."""

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to "fp16" or "bf16" on the device; nothing for "fp32"."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
