"""The transformer block of every network, and stacks of blocks (Peebles & Xie 2023, Sec. 3.2).

A block is conditioned through six vectors (shift, scale, gate; twice) that depend on the condition only.
`DiTBlock.modulation` computes them and `DiTBlock.forward` takes them, so that a block that is applied many times under
one condition computes them once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from models.networks.activations import GELUTanh
from models.networks.checkpointing import recomputed


class Modulation(NamedTuple):
    """adaLN-zero vectors of one block, each (batch, 1, hidden). The scales already hold 1 + scale."""

    shift_attn: Tensor
    scale_attn: Tensor
    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class TokenNorm(nn.LayerNorm):
    """LayerNorm over the last dimension, without learned scale and shift.

    On a CPU it passes ones and zeros for them: the result is the same, and torch's kernel for it takes half the time.
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__(hidden_size, eps, elementwise_affine=False)
        self.register_buffer("ones", torch.ones(hidden_size), persistent=False)
        self.register_buffer("zeros", torch.zeros(hidden_size), persistent=False)
        self.ones: Tensor
        self.zeros: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same shape."""
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return F.layer_norm(x, self.normalized_shape, self.ones, self.zeros, self.eps)
        return super().forward(x)


class DiTBlock(nn.Module):
    """Self-attention and MLP, each with adaLN-zero modulation. One forward is one *block pass*, the unit of compute."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = TokenNorm(hidden_size)
        self.attn = Attention(hidden_size, num_heads=num_heads, qkv_bias=True)
        self.norm2 = TokenNorm(hidden_size)
        self.mlp = Mlp(hidden_size, int(hidden_size * mlp_ratio), act_layer=GELUTanh)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def modulation(self, condition: Tensor) -> Modulation:
        """(batch, hidden) -> the block's six modulation vectors."""
        chunks = self.adaLN_modulation(condition).unsqueeze(1).chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = chunks
        return Modulation(shift_attn, 1 + scale_attn, gate_attn, shift_mlp, 1 + scale_mlp, gate_mlp)

    def timed_parts(self, tokens: Tensor, condition: Tensor) -> dict[str, Callable[[], object]]:
        """This block with its modulation, and without (see `Network.timed_parts`)."""
        modulation = self.modulation(condition)
        return {
            "block": lambda: self(tokens, self.modulation(condition)),
            "bare block": lambda: self(tokens, modulation),
        }

    def forward(self, x: Tensor, m: Modulation) -> Tensor:
        """(batch, tokens, hidden) -> the same shape."""
        attended = self.attn(torch.addcmul(m.shift_attn, self.norm1(x), m.scale_attn))
        x = _add_gated(x, m.gate_attn, attended)
        transformed = self.mlp(torch.addcmul(m.shift_mlp, self.norm2(x), m.scale_mlp))
        return _add_gated(x, m.gate_mlp, transformed)


def _add_gated(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + gate y. Under autocast y has a 16-bit dtype, of which addcmul would keep a float32 copy for backward."""
    return torch.addcmul(x, gate, y) if y.dtype == x.dtype else x + gate * y


class BlockStack(nn.ModuleList):
    """Explicit blocks in sequence, all with the same condition.

    Attributes:
        grad_checkpointing: whether backward recomputes each block, its modulation included.
    """

    def __init__(self, depth: int, hidden_size: int, num_heads: int) -> None:
        super().__init__(DiTBlock(hidden_size, num_heads) for _ in range(depth))
        self.grad_checkpointing = False
        self._run = _run

    def compile_region(self, **options: Any) -> None:
        """Compile a block with its modulation, once for all, in place, with options of `torch.compile`."""
        self._run = torch.compile(_run, **options)

    def forward(self, x: Tensor, condition: Tensor, part: slice = slice(None)) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, tokens, hidden), by all blocks or a part of them."""
        run = partial(recomputed, self._run) if self.grad_checkpointing else self._run
        for block in list(self)[part]:
            x = run(cast(DiTBlock, block), x, condition)
        return x


def _run(block: DiTBlock, x: Tensor, condition: Tensor) -> Tensor:
    return block(x, block.modulation(condition))
