"""Plain networks: the same arithmetic by timm's and torch's modules, for comparison in measurements of speed."""

from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from models.config import ModelConfig
from models.families import build
from models.fixed_point.solvers import Function
from models.networks.blocks import BlockStack, DiTBlock
from models.networks.fpdm import ImplicitLayer
from models.networks.network import Network


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


class PlainStack(nn.ModuleList):
    """Blocks one after the other, each computing its modulation; parameters as `PlainBlock`."""

    def __init__(self, blocks: BlockStack) -> None:
        super().__init__(PlainBlock(block) for block in blocks if isinstance(block, DiTBlock))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, tokens, hidden)."""
        for block in self:
            x = block(x, condition)
        return x


class PlainImplicitLayer(nn.Module):
    """An implicit layer that recomputes injection and modulation at every iteration, though they do not change."""

    def __init__(self, layer: ImplicitLayer) -> None:
        super().__init__()
        self.injection, self.proj_fc1 = plain_linear(layer.injection), plain_linear(layer.proj_fc1)
        self.proj_fc2 = plain_linear(layer.proj_fc2)
        self.blocks = nn.ModuleList(PlainBlock(cast(DiTBlock, block)) for block in layer.blocks)

    def bind(self, x_pre: Tensor, condition: Tensor) -> Function:
        """As `ImplicitLayer.bind`: (batch, tokens, hidden), (batch, hidden) -> the f of this step."""

        def f(z: Tensor) -> Tensor:
            joined = torch.cat([z, self.injection(x_pre)], dim=-1)
            hidden = F.gelu(self.proj_fc1(joined), approximate="tanh")
            z = self.proj_fc2(hidden)
            for block in self.blocks:
                z = block(z, condition)
            return z

        return f


def plain_linear(linear: nn.Linear) -> nn.Linear:
    """The same map by `nn.Linear`, without copying the parameters."""
    with torch.device("meta"):
        plain = nn.Linear(linear.in_features, linear.out_features)
    plain.load_state_dict(linear.state_dict(), assign=True)
    return plain


def plain_network(config: ModelConfig) -> Network:
    """A network with random weights and with plain blocks and implicit layers."""
    network = build(config)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BlockStack):
                setattr(parent, name, PlainStack(child))
            elif isinstance(child, ImplicitLayer):
                setattr(parent, name, PlainImplicitLayer(child))
    return network
