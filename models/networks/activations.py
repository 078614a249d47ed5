"""tanh-GELU (Hendrycks & Gimpel 2016), DiT's activation, with a faster form for sampling on a CPU.

    0.5 x (1 + tanh(u)) = x sigmoid(2u),  u = sqrt(2/pi) (x + 0.044715 x^3)

Both sides are equal. Torch's CPU kernel evaluates the left side, whose tanh costs as much as a projection of the block
at small widths. The right side takes a third of the time: without gradients computed in place, and fused by the
compiler. Eager training would have to keep the intermediate results, which costs the gain, so it uses torch's kernel.
Other devices do too.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = _LINEAR * 0.044715


def gelu_tanh(x: Tensor) -> Tensor:
    """tanh-GELU, elementwise."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(x * (_LINEAR + _CUBIC * (x * x)))
    if not (torch.is_grad_enabled() and x.requires_grad):
        return (x * x).mul_(_CUBIC).add_(_LINEAR).mul_(x).sigmoid_().mul_(x)
    return F.gelu(x, approximate="tanh")


class GELUTanh(nn.Module):
    """`gelu_tanh` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return gelu_tanh(x)
