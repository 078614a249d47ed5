"""Linear maps of tokens, by the CPU library that is faster.

Torch sends float32 matrix products to MKL and convolutions to oneDNN. On CPUs that are not Intel's, MKL leaves AVX-512
unused; oneDNN does not, and a 1x1 convolution over channels-last data is the same product without a copy. On an AMD
EPYC with AVX-512, at digits size, a product takes half as long and a training step a tenth less. Other devices, and
inputs too small to repay the set-up of a convolution, go the ordinary way.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WORTHWHILE_TOKENS = 1024


def token_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b: (batch, tokens, in), (out, in), (out,) -> (batch, tokens, out)."""
    batch, tokens, width = x.shape
    if (
        x.device.type != "cpu"
        or x.dtype != torch.float32
        or batch * tokens < _WORTHWHILE_TOKENS
        or not torch.backends.mkldnn.is_available()
        or torch.compiler.is_compiling()
    ):
        return F.linear(x, weight, bias)
    height = math.isqrt(tokens)
    if tokens % height:
        height = 1
    image = x.reshape(batch, height, tokens // height, width).permute(0, 3, 1, 2)
    out = F.conv2d(image, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(batch, tokens, weight.shape[0])


class TokenLinear(nn.Linear):
    """`nn.Linear` for (batch, tokens, in), through `token_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, in) -> (batch, tokens, out)."""
        return token_linear(x, self.weight, self.bias)
