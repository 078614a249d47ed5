"""Peak GPU memory of a training step and of sampling, computed without a GPU.

The step of the trainer, or a sampling run, runs on torch's meta device, whose tensors have sizes but no data, and every
 storage is followed from its making to its freeing. Counted are the bytes that tensors ask for; a real GPU adds
the CUDA context, workspaces inside kernels and what the allocator rounds up or leaves unused. Measured on one is the
same by `bench.profiling.cuda_memory`.

Torch has no autocast for meta tensors, and backward of fake CUDA tensors needs a GPU (2.10: "hasPrimaryContext expects
a valid device index"; builds without CUDA abort), so `_CudaRules` states what CUDA does differently. Forward it equals
torch's CUDA autocast to the byte (tested). Attention is the memory-efficient kernel, which keeps no (heads, tokens,
tokens) matrix and runs on a V100 too; flash attention keeps the same tensors.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from bench.system.dtypes import PRECISIONS
from models.diffusion.objective import diffusion_loss
from models.diffusion.sampling import SampleNoise, make_schedule, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS
from models.fixed_point.unroll import Unroll
from models.networks.dit import DiT
from models.networks.fpdm import FPDM
from models.zoo import ModelConfig, build


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step, weights in float32.

    Attributes:
        parameters_bytes: the trainable parameters.
        gradients_bytes: their gradients, once all are there.
        optimizer_bytes, ema_bytes: AdamW's two moments; the averaged copy of the parameters.
        peak_gradients_bytes: the gradients that are there at the peak, which may lie before or within backward.
        activations_bytes: what else is alive at the peak: what forward keeps for backward, low-precision copies of the
            weights, temporaries, the batch.
        peak_bytes: the most that is alive at once: parameters, moments, average, and the last two.
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
    """Bytes of sampling, weights in float32: the weights, what else is alive at the peak, and the peak, their sum."""

    parameters_bytes: int
    activations_bytes: int
    peak_bytes: int


class StorageMeter(TorchDispatchMode):
    """While active, follows the storages that operations make.

    Attributes:
        live, peak: bytes alive, and their maximum.
        marked, peak_marked: bytes given to `mark`, and how many of them were so at the peak.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.marked = self.peak_marked = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def mark(self, tensor: Tensor) -> None:
        """Count a tensor that stays alive apart from now on."""
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
    """What a model's forward does on CUDA and not on meta: the attention kernel, and autocast to `dtype` if given.

    The lists are torch's (its documentation of autocast, "CUDA Op-Specific Behavior"), as far as the networks use them.
    `cached` is whether a weight is cast once for all: so in forward, while what backward recomputes casts it anew.
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
    config: ModelConfig, batch_size: int, unroll: Unroll, precision: str = "fp32", grad_checkpointing: bool = False
) -> TrainingMemory:
    """Memory of one training step in the steady state: moments and EMA are there, gradients are not yet.

    Clipping, the fused AdamW and the EMA work in place and come after the activations are freed: the peak lies before
    them, and they are not run.

    Args:
        config: the network.
        batch_size: images of the step.
        unroll: iterations without and with gradient; a DiT ignores it.
        precision: "fp32", or autocast to "fp16" or "bf16".
        grad_checkpointing: recompute explicit blocks and iterations in backward.

    Raises:
        ValueError: unknown precision.
    """
    dtype = _dtype(precision)
    with torch.device("meta"), StorageMeter() as meter:
        model = build(config).train()
        model.set_grad_checkpointing(grad_checkpointing)
        moments, ema = ([torch.empty_like(p) for p in [*model.parameters()] * copies] for copies in (2, 1))
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(lambda p: meter.mark(p.grad))
        loss = training_loss(model, config, batch_size, unroll, lambda: _CudaRules(dtype))
        with _CudaRules(dtype, cached=False):
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


def sampling_memory(config: ModelConfig, batch_size: int, iterations: int, precision: str = "fp32") -> SamplingMemory:
    """Memory of sampling: two steps of DDPM, so that the second starts from the solution of the first.

    Args:
        config: the network.
        batch_size: images at once.
        iterations: of each step; a DiT ignores it.
        precision: "fp32", or autocast to "fp16" or "bf16", which keeps its copies of the weights for the whole run.

    Raises:
        ValueError: unknown precision.
    """
    dtype = _dtype(precision)
    with torch.device("meta"), StorageMeter() as meter:
        model = build(config).eval()
        sample_twice(model, config, batch_size, iterations, lambda: _CudaRules(dtype))
    size = sum(p.nbytes for p in model.parameters())
    return SamplingMemory(size, meter.peak - size, meter.peak)


def training_loss(
    model: DiT | FPDM,
    config: ModelConfig,
    batch_size: int,
    unroll: Unroll,
    autocast: Callable[[], AbstractContextManager],
) -> Tensor:
    """The trainer's loss of a batch of noise on the default device, ().

    A function of its own as there: what only forward needs, `autocast`'s copies of weights too, is freed at its end.
    """
    schedule = linear_schedule(TIMESTEPS)
    x0, noise = (torch.randn(batch_size, config.in_channels, *[config.input_size] * 2) for _ in range(2))
    t, y = (torch.zeros(batch_size, dtype=torch.int64) for _ in range(2))
    x = schedule.add_noise(x0, noise, t)
    with autocast():
        prediction, _ = model.predict(x, t, y, unroll)
    return diffusion_loss(schedule, prediction, x0, x, noise, t).total.mean()


def sample_twice(
    model: DiT | FPDM,
    config: ModelConfig,
    batch_size: int,
    iterations: int,
    autocast: Callable[[], AbstractContextManager],
) -> Tensor:
    """Two steps of DDPM on the default device, the second from the solution of the first: (batch, channels, ...)."""
    y = torch.zeros(batch_size, dtype=torch.int64)
    noise = SampleNoise(0, range(batch_size), (config.in_channels, *[config.input_size] * 2), y.device)
    with torch.device("cpu"):  # where its scalars belong
        noise_schedule = linear_schedule(TIMESTEPS)
    steps = make_schedule((TIMESTEPS - 1, 0), (iterations, iterations))
    with autocast():
        return sample(model, noise_schedule, steps, y, noise)


def _dtype(precision: str) -> torch.dtype | None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    return PRECISIONS[precision]
