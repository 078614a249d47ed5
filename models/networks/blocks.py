"""What DiT and FPDM share: the transformer block, the embedders and the final layer (Peebles & Xie 2023, Sec. 3.2).

A block is conditioned through six vectors (shift, scale, gate; twice) that depend on the condition only. They are
computed by `DiTBlock.modulation` and passed to `forward`, so that a block applied many times under one condition
pays for them once.
"""

import math
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp, PatchEmbed
from torch import Tensor, nn

from models.networks.activations import GELUTanh
from models.networks.checkpointing import recomputed
from models.networks.linear import TokenLinear


class Modulation(NamedTuple):
    """adaLN-zero vectors of one block, each (batch, 1, hidden). The scales already hold 1 + scale."""

    shift_attn: Tensor
    scale_attn: Tensor
    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class TokenNorm(nn.LayerNorm):
    """LayerNorm without learned scale and shift, over the last dimension.

    On a CPU it is given ones and zeros for them: the same numbers, by the kernel of torch's that takes half the time.
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
    """Self-attention and MLP, each behind an adaLN-zero modulation: the unit of compute, one *block pass*."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = TokenNorm(hidden_size)
        self.attn = Attention(hidden_size, num_heads=num_heads, qkv_bias=True)
        self.attn.qkv = TokenLinear(hidden_size, 3 * hidden_size)
        self.attn.proj = TokenLinear(hidden_size, hidden_size)
        self.norm2 = TokenNorm(hidden_size)
        mlp_size = int(hidden_size * mlp_ratio)
        self.mlp = Mlp(hidden_size, mlp_size, act_layer=GELUTanh)
        self.mlp.fc1 = TokenLinear(hidden_size, mlp_size)
        self.mlp.fc2 = TokenLinear(mlp_size, hidden_size)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def modulation(self, condition: Tensor) -> Modulation:
        """(batch, hidden) -> the block's six modulation vectors."""
        chunks = self.adaLN_modulation(condition).unsqueeze(1).chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = chunks
        return Modulation(shift_attn, 1 + scale_attn, gate_attn, shift_mlp, 1 + scale_mlp, gate_mlp)

    def forward(self, x: Tensor, m: Modulation) -> Tensor:
        """(batch, tokens, hidden) -> the same shape."""
        attended = self.attn(torch.addcmul(m.shift_attn, self.norm1(x), m.scale_attn))
        x = _add_gated(x, m.gate_attn, attended)
        transformed = self.mlp(torch.addcmul(m.shift_mlp, self.norm2(x), m.scale_mlp))
        return _add_gated(x, m.gate_mlp, transformed)


def _add_gated(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + gate y. Under autocast y is of low precision, and addcmul would keep a float32 copy of it for backward."""
    return torch.addcmul(x, gate, y) if y.dtype == x.dtype else x + gate * y


class BlockStack(nn.ModuleList):
    """Explicit blocks, one after the other, under one condition.

    Attributes:
        grad_checkpointing: whether each block, its modulation included, is recomputed in backward.
    """

    def __init__(self, depth: int, hidden_size: int, num_heads: int) -> None:
        super().__init__(DiTBlock(hidden_size, num_heads) for _ in range(depth))
        self.grad_checkpointing = False

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, tokens, hidden)."""
        run = partial(recomputed, _run) if self.grad_checkpointing else _run
        for block in self:
            x = run(cast(DiTBlock, block), x, condition)
        return x


def _run(block: DiTBlock, x: Tensor, condition: Tensor) -> Tensor:
    return block(x, block.modulation(condition))


class TimestepEmbedder(nn.Module):
    """Sinusoidal features of the timestep, then a two-layer MLP."""

    def __init__(self, hidden_size: int, frequencies: int = 256, max_period: float = 10_000.0) -> None:
        super().__init__()
        half = frequencies // 2
        self.mlp = nn.Sequential(nn.Linear(frequencies, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        rates = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("rates", rates, persistent=False)
        self.rates: Tensor

    def forward(self, t: Tensor) -> Tensor:
        """(batch,) timesteps -> (batch, hidden)."""
        angles = t.float()[:, None] * self.rates
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class LabelEmbedder(nn.Module):
    """A table of class embeddings; the last row, index `num_classes`, is the null label of classifier-free guidance.

    Label dropout is drawn by the trainer from its keyed randomness, never in here.
    """

    def __init__(self, num_classes: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        """(batch,) labels in 0..num_classes -> (batch, hidden)."""
        return self.embedding_table(y)


class FinalLayer(nn.Module):
    """Modulated LayerNorm and the projection of each token to its patch."""

    def __init__(self, hidden_size: int, patch_size: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = TokenNorm(hidden_size)
        self.linear = nn.Linear(hidden_size, patch_size**2 * out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, tokens, patch^2 * out_channels)."""
        shift, scale = self.adaLN_modulation(condition).unsqueeze(1).chunk(2, dim=-1)
        return self.linear(torch.addcmul(shift, self.norm_final(x), 1 + scale))


class PatchNetwork(nn.Module):
    """What lies around the blocks of both twins: embedders, fixed positions, final layer.

    Args:
        input_size: height and width of the input, in pixels or latent pixels.
        patch_size: side of a patch; must divide `input_size`.
        in_channels: channels of the input; the output has as many, twice as many with `learn_sigma`.
        hidden_size: width of a token; a multiple of 4.
        num_classes: labels 0..num_classes-1; label `num_classes` is the null label.
        learn_sigma: predict the variance beside the mean.
    """

    def __init__(
        self, input_size: int, patch_size: int, in_channels: int, hidden_size: int, num_classes: int, learn_sigma: bool
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.out_channels = in_channels * (2 if learn_sigma else 1)
        self.x_embedder = PatchEmbed(input_size, patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        self.register_buffer("pos_embed", sincos_position_embedding(hidden_size, input_size // patch_size))
        self.pos_embed: Tensor
        self.final_layer = FinalLayer(hidden_size, patch_size, self.out_channels)

    def to_tokens(self, x: Tensor) -> Tensor:
        """(batch, in_channels, size, size) -> (batch, tokens, hidden)."""
        projection = self.x_embedder.proj
        # As a product, not as the convolution that it is: a convolution's result would have to be transposed, and every
        # sum of the residual stream would inherit that layout.
        return F.linear(patchify(x, self.patch_size), projection.weight.flatten(1), projection.bias) + self.pos_embed

    def to_image(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, out_channels, size, size)."""
        return unpatchify(self.final_layer(tokens, condition), self.patch_size, self.out_channels)


def sincos_position_embedding(hidden_size: int, grid_size: int) -> Tensor:
    """Fixed 2-d sine-cosine positions, (1, grid_size^2, hidden): half of the width for columns, half for rows."""
    quarter = hidden_size // 4
    rates = 1.0 / 10_000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    position = torch.arange(grid_size, dtype=torch.float64)
    row, column = torch.meshgrid(position, position, indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in (column, row)]
    return torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], dim=1).float().unsqueeze(0)


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """(batch, channels, height, width) -> (batch, tokens, channels * patch^2), the order of a convolution's weights."""
    batch, channels, height, width = x.shape
    rows, columns = height // patch_size, width // patch_size
    x = x.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * patch_size**2)


def unpatchify(x: Tensor, patch_size: int, out_channels: int) -> Tensor:
    """(batch, tokens, patch^2 * out_channels) -> (batch, out_channels, height, width)."""
    batch, tokens, _ = x.shape
    side = math.isqrt(tokens)
    x = x.reshape(batch, side, side, patch_size, patch_size, out_channels)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, out_channels, side * patch_size, side * patch_size)


def initialize(model: nn.Module) -> None:
    """DiT's initialisation: Xavier for linear maps, N(0, 0.02) for embeddings, zero for modulations and the output.

    Zero modulations make every block the identity at the start (adaLN-zero).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):  # the patch embedding, treated as the linear map it is
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if "t_embedder.mlp" in name and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and ("adaLN_modulation" in name or name == "final_layer.linear"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
