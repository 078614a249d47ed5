"""Peak GPU memory of a training step and of sampling, computed without a GPU.

Forward and backward of the trainer's step, or a sampling run, run on torch's meta device, whose tensors have sizes but
no data. Every storage is tracked from allocation to release, and the bytes that tensors request are counted. A real GPU
adds the CUDA context, workspaces inside kernels, and blocks that the allocator rounds up or leaves unused;
`bench.profiling.cuda_memory` measures on one.

Torch has no autocast for meta tensors, and backward of fake CUDA tensors needs a GPU (2.10: "hasPrimaryContext expects
a valid device index"; builds without CUDA abort), so `_CudaRules` states where CUDA differs. In forward it equals
torch's CUDA autocast to the byte (tested). Attention is the memory-efficient kernel, which keeps no (heads, tokens,
tokens) matrix and runs on a V100 too; flash attention keeps the same tensors.
"""

import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from bench.machine.dtypes import DTYPES
from bench.profiling.noise import NoiseSource, sample_twice
from bench.training.step import Forward, batch_loss
from models.config import ModelConfig
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS
from models.families import build
from models.fixed_point.unroll import Unroll
from models.networks.network import Network


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step, weights in float32.

    Attributes:
        parameters_bytes: the trainable parameters.
        gradients_bytes: their gradients, once all exist.
        optimizer_bytes, ema_bytes: AdamW's two moments; the averaged copy of the parameters.
        peak_gradients_bytes: the gradients that exist at the peak, which may lie before or within backward.
        activations_bytes: all other tensors at the peak: activations that forward keeps for backward, 16-bit copies of
            the weights, temporaries, the batch.
        peak_bytes: maximum of live bytes: parameters, moments, average, and the two before.
    """

    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    ema_bytes: int
    peak_gradients_bytes: int
    activations_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class SamplingMemory:
    """Bytes of sampling, weights in float32: the weights, all other tensors at the peak, and the sum."""

    parameters_bytes: int
    activations_bytes: int
    peak_bytes: int


class StorageMeter(TorchDispatchMode):
    """While active, tracks the storages that operations allocate.

    Attributes:
        live, peak: bytes alive, and their maximum.
        marked, peak_marked: bytes of tensors given to `mark`, now and at the peak.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.marked = self.peak_marked = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def mark(self, tensor: Tensor) -> None:
        """Count a tensor, which stays alive, in `marked` too."""
        self.marked += tensor.nbytes

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
        if self.live > self.peak:
            self.peak, self.peak_marked = self.live, self.marked


class _CudaRules(TorchFunctionMode):
    """Runs on meta as on CUDA: with the attention kernel and, if `dtype` is given, with autocast to it.

    The lists are torch's (its documentation of autocast, "CUDA Op-Specific Behavior"), as far as the networks use them.
    `cached`: whether a weight is cast only once, as in forward; recomputation in backward casts it again.
    """

    LOW = (F.linear, F.conv2d, F.scaled_dot_product_attention)
    FLOAT32, WIDEST = (F.layer_norm,), (torch.addcmul, torch.cat)

    def __init__(self, dtype: torch.dtype | None, cached: bool = True) -> None:
        super().__init__()
        self._dtype, self._cached = dtype, cached
        self._weights: dict[Tensor, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        dtypes = [v.dtype for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        eligible = func in self.LOW + self.FLOAT32 + self.WIDEST and torch.float64 not in dtypes
        if self._dtype is not None and eligible:
            widest = torch.float32 if torch.float32 in dtypes else self._dtype
            target = self._dtype if func in self.LOW else torch.float32 if func in self.FLOAT32 else widest
            args, kwargs = tree_map(lambda v: self._cast(v, target) if isinstance(v, Tensor) else v, (args, kwargs))
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args[:3], None, True)[0]
        return func(*args, **kwargs)

    def _cast(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        weight = value.is_leaf and value.requires_grad and not value._is_view()
        if value.dtype is dtype or not (self._cached and weight):
            return value.to(dtype)
        if value not in self._weights:
            with torch.enable_grad():  # also for an Unroll's first iterations: those with gradient reuse the copy
                self._weights[value] = value.to(dtype)
        return self._weights[value]


def training_memory(
    config: ModelConfig, batch_size: int, unroll: Unroll, dtype: str = "fp32", grad_checkpointing: bool = False
) -> TrainingMemory:
    """Memory of one training step in the steady state: moments and EMA exist, gradients do not yet.

    Clipping, the fused AdamW and the EMA work in place and come after the activations are freed: the peak lies before
    them, and they are not run.

    Args:
        config: the network.
        batch_size: images of the step.
        unroll: iterations without and with gradient; a DiT ignores it.
        dtype: "fp32", or autocast to "fp16" or "bf16".
        grad_checkpointing: recompute explicit blocks and iterations in backward.

    Raises:
        ValueError: unknown dtype.
    """
    low = _low(dtype)
    with torch.device("meta"), StorageMeter() as meter:
        model = build(config).train()
        model.set_grad_checkpointing(grad_checkpointing)
        moments, ema = ([torch.empty_like(p) for p in [*model.parameters()] * copies] for copies in (2, 1))
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(lambda p: meter.mark(p.grad))
        loss = _loss(model, config, batch_size, unroll, low)
        with _CudaRules(low, cached=False):
            torch.autograd.backward(loss)  # `loss.backward()` would suspend the rules
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    counted = (model.parameters(), gradients, moments, ema)
    size, gradients_size, moments_size, ema_size = (sum(v.nbytes for v in tensors) for tensors in counted)
    activations_size = meter.peak - size - moments_size - ema_size - meter.peak_marked
    return TrainingMemory(size, gradients_size, moments_size, ema_size, meter.peak_marked, activations_size, meter.peak)


def mean_memory(memories: Sequence[TrainingMemory]) -> TrainingMemory:
    """The mean of each part over training steps, rounded to bytes."""
    parts = [asdict(memory) for memory in memories]
    return TrainingMemory(**{name: round(fmean(part[name] for part in parts)) for name in parts[0]})


def sampling_memory(config: ModelConfig, batch_size: int, iterations: int, dtype: str = "fp32") -> SamplingMemory:
    """Memory of sampling: two steps of DDPM, so that the second starts from the solution of the first.

    Args:
        config: the network.
        batch_size: images at once.
        iterations: iterations of each step; a DiT ignores them.
        dtype: "fp32", or autocast to "fp16" or "bf16", which keeps its copies of the weights for the whole run.

    Raises:
        ValueError: unknown dtype.
    """
    low = _low(dtype)
    with torch.device("meta"), StorageMeter() as meter:
        model = build(config).eval()
        sample_twice(model, config, batch_size, iterations, lambda: _CudaRules(low))
    size = sum(p.nbytes for p in model.parameters())
    return SamplingMemory(size, meter.peak - size, meter.peak)


def _loss(model: Network, config: ModelConfig, batch_size: int, unroll: Unroll, low: torch.dtype | None) -> Tensor:
    """The trainer's loss on a batch of noise."""
    meta = torch.device("meta")
    batch, schedule = NoiseSource(config, meta).draw(0, 0, batch_size), linear_schedule(TIMESTEPS)
    return batch_loss(Forward(model), schedule, batch, meta, unroll, lambda: _CudaRules(low)).total.mean()


def _low(dtype: str) -> torch.dtype | None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]
