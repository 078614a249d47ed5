"""Dtypes of networks: float32, or autocast to 16 bits."""

from contextlib import AbstractContextManager, nullcontext

import torch

DTYPES = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def autocast(device: torch.device, dtype: str) -> AbstractContextManager:
    """Autocast to "fp16" or "bf16" on the device; nothing for "fp32"."""
    low = DTYPES[dtype]
    return nullcontext() if low is None else torch.autocast(device.type, dtype=low)
