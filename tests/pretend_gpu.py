"""A GPU that is not there: CUDA tensors have shapes, dtypes and devices, but no numbers; CPU tensors are real.

So code for a GPU runs on any machine, and fails where a GPU would refuse: a tensor on the wrong device, an operation on
two dtypes. Operations on CUDA tensors run as torch's fake tensors. What is copied to the CPU is zeros, and a number
that is asked for is 1 (or True).
"""

from collections import Counter, defaultdict
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
# Operations whose floating-point inputs a GPU wants in one dtype; some of their fake kernels do not look.
ONE_DTYPE = (
    aten.mm,
    aten.addmm,
    aten.bmm,
    aten.baddbmm,
    aten.convolution,
    aten._scaled_dot_product_efficient_attention,
)


class PretendGpu(FakeTensorMode):
    """While entered, `torch.device("cuda")` takes tensors.

    Attributes:
        seen: dtypes of the inputs of each operation of ONE_DTYPE, by its name.
    """

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)
        self.cache_clear()  # the process shares it: what another test ran would not be seen here
        self.seen = defaultdict(set)
        self._within = False  # an operation of ours, for which torch may run others on fake tensors

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        on_gpu = any(isinstance(tensor, FakeTensor) for tensor in tensors)
        to_gpu = any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in leaves)
        if not (self._within or on_gpu or to_gpu):
            return func(*args, **kwargs)
        self._check(func, args, tensors)
        if func is aten._local_scalar_dense.default and on_gpu:
            return {torch.bool: True}.get(args[0].dtype, 1.0 if args[0].is_floating_point() else 1)
        if self._within:
            return super().__torch_dispatch__(func, types, args, kwargs)
        if func is aten._amp_update_scale_.default:  # torch has no fake kernel of it
            return args[0]
        self._within = True
        try:
            args, kwargs = tree_map(self._fake, (args, kwargs))
            return tree_map(_real_on_cpu, super().__torch_dispatch__(func, types, args, kwargs))
        finally:
            self._within = False

    def _fake(self, value):
        return self.from_tensor(value) if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else value

    def _check(self, func, args, tensors):
        kind = func.overloadpacket
        if kind in ONE_DTYPE:
            dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
            self.seen[kind.__name__] |= dtypes
            if len(dtypes) > 1:
                raise RuntimeError(f"{kind} of {', '.join(map(str, dtypes))}")
        if kind in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
            places = {index.device.type for index in args[1] if index is not None}
            if places - {"cpu", args[0].device.type}:
                raise RuntimeError(f"{kind} of a tensor on {args[0].device} by indices on {', '.join(places)}")


def _real_on_cpu(value):
    if isinstance(value, FakeTensor) and value.device.type == "cpu":
        return torch.zeros(value.shape, dtype=value.dtype)
    return value


def _attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
    """Attention as on a GPU, by the kernel that every GPU has; which one is taken there, torch asks the driver."""
    if q.device.type != "cuda":
        return _CPU_ATTENTION(q, k, v, attn_mask, dropout_p, is_causal, scale=scale)
    if torch.is_autocast_enabled("cuda"):
        q, k, v = (tensor.to(torch.get_autocast_dtype("cuda")) for tensor in (q, k, v))
    kernel = aten._scaled_dot_product_efficient_attention
    return kernel(q, k, v, attn_mask, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale)[0]


_CPU_ATTENTION = F.scaled_dot_product_attention


def _backward(loss):
    """`loss.backward()`, node by node: torch's engine would ask the driver for the streams of the device."""
    waits, seen, stack = Counter(), {loss.grad_fn}, [loss.grad_fn]  # waits: for gradients from so many nodes
    while stack:
        for node, _ in stack.pop().next_functions:
            waits[node] += 1
            if node is not None and node not in seen:
                seen.add(node)
                stack.append(node)
    gradients, ready = {loss.grad_fn: {0: torch.ones_like(loss)}}, [loss.grad_fn]
    while ready:
        node = ready.pop()
        given = gradients.pop(node, {})
        results = node(*(given.get(i) for i in range(len(node._input_metadata)))) if given else None
        results = results if isinstance(results, tuple) else (results,) * len(node.next_functions)
        for (following, slot), gradient in zip(node.next_functions, results, strict=True):
            if following is not None and gradient is not None:
                gradient = _as_engine_does(gradient, following._input_metadata[slot])
                slots = gradients.setdefault(following, {})
                slots[slot] = gradient if slot not in slots else slots[slot] + gradient
            waits[following] -= 1
            if following is not None and not waits[following]:
                ready.append(following)


def _as_engine_does(gradient, expected):
    """The gradient as the engine passes it on: checked, summed to the shape and cast to the dtype of its tensor."""
    if gradient.device != expected.device:
        raise RuntimeError(f"a gradient on {gradient.device} of a tensor on {expected.device}")
    return gradient.sum_to_size(expected.shape).to(expected.dtype)


@contextmanager
def pretended(monkeypatch, capability=(8, 0)):
    """A context in which the machine has a GPU of this generation; yields its `PretendGpu`."""
    answers = {
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 0,
        "memory_allocated": 0,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": capability,
        "get_device_name": "pretended GPU",
        "is_bf16_supported": capability >= (8, 0),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(F, "scaled_dot_product_attention", _attention)
    monkeypatch.setattr(Tensor, "backward", torch.no_grad()(_backward))
    # by which torch knows within a backward that a checkpoint has been computed again already
    monkeypatch.setattr(torch._C, "_current_graph_task_id", lambda: 0)
    # by which torch.load would make tensors without numbers
    monkeypatch.setattr("torch._guards.active_fake_mode", lambda: None)
    monkeypatch.setattr("torch._guards.detect_fake_mode", lambda *_: None)
    # which looks at addresses, of which these tensors have none
    monkeypatch.setattr("safetensors.torch._find_shared_tensors", lambda tensors: [])
    with PretendGpu() as gpu:
        yield gpu
