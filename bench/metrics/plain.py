"""What a DiT's blocks are measured against: the same arithmetic as a plain sequence of timm's and torch's modules."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from models.blocks import DiTBlock
from models.dit import DiT


class PlainBlock(nn.Module):
    """A DiT block as it is usually written; takes its parameters from a `DiTBlock` without copying them."""

    def __init__(self, block: DiTBlock) -> None:
        super().__init__()
        width, mlp_size = block.attn.qkv.in_features, cast(nn.Linear, block.mlp.fc1).out_features
        with torch.device("meta"):
            self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
            self.attn = Attention(width, num_heads=block.attn.num_heads, qkv_bias=True)
            self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
            self.mlp = Mlp(width, mlp_size, act_layer=partial(nn.GELU, approximate="tanh"))  # type: ignore[arg-type]
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.load_state_dict(block.state_dict(), assign=True)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, tokens, hidden)."""
        vectors = self.adaLN_modulation(condition).unsqueeze(1).chunk(6, dim=2)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = vectors
        x = x + gate_attn * self.attn(self.norm1(x) * (1 + scale_attn) + shift_attn)
        return x + gate_mlp * self.mlp(self.norm2(x) * (1 + scale_mlp) + shift_mlp)


def plain_stack(model: DiT) -> Callable[[Tensor, Tensor], Tensor]:
    """The blocks of a DiT, one after the other: (batch, tokens, hidden), (batch, hidden) -> (batch, tokens, hidden)."""
    blocks = [PlainBlock(block) for block in model.blocks if isinstance(block, DiTBlock)]

    def run(x: Tensor, condition: Tensor) -> Tensor:
        for block in blocks:
            x = block(x, condition)
        return x

    return run
