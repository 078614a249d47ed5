"""Linear maps of tokens, computed by the faster of two CPU libraries.

Torch computes float32 matrix products with MKL, which does not use AVX-512 on CPUs other than Intel's. oneDNN does.
Without gradients, oneDNN is reached through the linear operator that torch's compiler uses. That operator has no
derivative, so with gradients a 1x1 convolution over channels-last data computes the same product without a copy. On an
AMD EPYC with AVX-512 a product takes half as long (bench/PERFORMANCE.md). Other devices and small products use
`F.linear`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WORTHWHILE_MACS = 4_000_000
_WORTHWHILE_ROWS = 128
_HAS_ONEDNN = torch.backends.mkldnn.is_available()
_HAS_OPERATOR = _HAS_ONEDNN and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def token_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b: (batch, tokens, in), (out, in), (out,) -> (batch, tokens, out)."""
    rows = x.shape[0] * x.shape[1]
    if (
        x.device.type != "cpu"
        or not x.dtype == weight.dtype == torch.float32
        or rows < _WORTHWHILE_ROWS
        or rows * weight.numel() < _WORTHWHILE_MACS
        or not _HAS_ONEDNN
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
    ):
        return F.linear(x, weight, bias)
    with_gradient = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )
    if _HAS_OPERATOR and not with_gradient:
        return torch.ops.mkldnn._linear_pointwise(x, weight.contiguous(), bias, "none", [], "")
    return _convolution(x, weight, bias)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, tokens, width = x.shape
    rows = batch * tokens
    images = 16 if torch.get_num_threads() == 1 else 1  # on one thread torch uses oneDNN for 16 images or more
    if rows % images:
        return F.linear(x, weight, bias)
    columns = 16 if rows // images % 16 == 0 else 1
    image = x.reshape(images, rows // images // columns, columns, width).permute(0, 3, 1, 2)
    out = F.conv2d(image, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(batch, tokens, weight.shape[0])


class TokenLinear(nn.Linear):
    """`nn.Linear` for (batch, tokens, in), computed by `token_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, in) -> (batch, tokens, out)."""
        return token_linear(x, self.weight, self.bias)
