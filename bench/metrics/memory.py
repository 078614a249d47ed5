"""Peak GPU memory of a training step, computed without a GPU.

The step of `bench.trainer` runs on torch's meta device, whose tensors have sizes but no data, and every storage is
followed from its making to its freeing. Counted are the bytes that tensors ask for; a real GPU adds the CUDA context,
workspaces inside kernels and what the allocator rounds up or leaves unused.

Torch has no autocast for meta tensors, and backward of fake CUDA tensors needs a GPU (2.10: "hasPrimaryContext expects
a valid device index"; builds without CUDA abort), so `_CudaRules` states what CUDA does differently. Forward it equals
torch's CUDA autocast to the byte (tested). Attention is the memory-efficient kernel, which keeps no (heads, tokens,
tokens) matrix and runs on a V100 too; flash attention keeps the same tensors.
"""

import weakref
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from models.dit import DiT
from models.fpdm import FPDM
from models.objective import diffusion_loss
from models.schedule import linear_schedule
from models.timesteps import TIMESTEPS
from models.unroll import Unroll
from models.zoo import ModelConfig, build

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step, weights in float32.

    Attributes:
        parameters_bytes: the trainable parameters.
        gradients_bytes: their gradients, once all are there; at the peak, part-way through backward, not all are.
        optimizer_bytes, ema_bytes: AdamW's two moments; the averaged copy of the parameters.
        activations_bytes: `peak_bytes` less parameters, moments and average: what forward keeps for backward,
            low-precision copies of the weights, temporaries, the batch, and the gradients that are there at the peak.
        peak_bytes: the most that is alive at once.
    """

    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    ema_bytes: int
    activations_bytes: int
    peak_bytes: int


class StorageMeter(TorchDispatchMode):
    """While active, follows the storages that operations make: bytes alive (`live`) and their maximum (`peak`)."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._seen:
                self._seen.add(storage)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes()).atexit = False
        return out

    def _count(self, nbytes: int) -> None:
        self.live += nbytes
        self.peak = max(self.peak, self.live)


class _CudaRules(TorchFunctionMode):
    """What a model's forward does on CUDA and not on meta: the attention kernel, and autocast to `dtype` if given.

    The lists are torch's (its documentation of autocast, "CUDA Op-Specific Behavior"), as far as the networks use them.
    """

    LOW = (F.linear, F.conv2d, F.scaled_dot_product_attention)
    FLOAT32, WIDEST = (F.layer_norm,), (torch.addcmul, torch.cat)

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._dtype = dtype
        self._weights: dict[Tensor, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._dtype is not None and func in self.LOW + self.FLOAT32 + self.WIDEST:
            dtypes = [v.dtype for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
            widest = torch.float32 if torch.float32 in dtypes else self._dtype
            target = self._dtype if func in self.LOW else torch.float32 if func in self.FLOAT32 else widest
            args, kwargs = tree_map(lambda v: self._cast(v, target) if isinstance(v, Tensor) else v, (args, kwargs))
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args[:3], None, True)[0]
        return func(*args, **kwargs)

    def _cast(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        if value.dtype is dtype or not (value.is_leaf and value.requires_grad):
            return value.to(dtype)
        if value not in self._weights:  # autocast casts a weight once per step
            with torch.enable_grad():  # also for an Unroll's first iterations: those with gradient reuse the copy
                self._weights[value] = value.to(dtype)
        return self._weights[value]


def training_memory(config: ModelConfig, batch_size: int, unroll: Unroll, precision: str = "fp32") -> TrainingMemory:
    """Memory of one training step in the steady state: moments and EMA are there, gradients are not yet.

    Clipping, the fused AdamW and the EMA work in place and come after the activations are freed: the peak lies before
    them, and they are not run. A DiT ignores `unroll`. `precision` is "fp32", or autocast to "fp16" or "bf16".
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    with torch.device("meta"), StorageMeter() as meter:
        model = build(config).train()
        moments, ema = ([torch.empty_like(p) for p in [*model.parameters()] * copies] for copies in (2, 1))
        _loss(model, config, batch_size, unroll, PRECISIONS[precision]).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    counted = (model.parameters(), gradients, moments, ema)
    size, gradients_size, moments_size, ema_size = (sum(v.nbytes for v in tensors) for tensors in counted)
    activations_size = meter.peak - size - moments_size - ema_size
    return TrainingMemory(size, gradients_size, moments_size, ema_size, activations_size, meter.peak)


def _loss(model: DiT | FPDM, config: ModelConfig, batch_size: int, unroll: Unroll, dtype: torch.dtype | None) -> Tensor:
    """As the trainer's, a function of its own for the same reason: what only forward needs is freed at its end."""
    schedule = linear_schedule(TIMESTEPS)
    x0, noise = (torch.empty(batch_size, config.in_channels, *[config.input_size] * 2) for _ in range(2))
    t, y = (torch.empty(batch_size, dtype=torch.int64) for _ in range(2))
    x = schedule.add_noise(x0, noise, t)
    with _CudaRules(dtype):
        prediction, _ = model.predict(x, t, y, unroll)
    return diffusion_loss(schedule, prediction, x0, x, noise, t).total.mean()
