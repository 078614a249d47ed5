"""Embedders of timestep, label and position, and the conversion between images and patches."""

import math

import torch
from torch import Tensor, nn


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
    """A table of class embeddings. Its last row, index `num_classes`, is the null label of classifier-free guidance.

    Label dropout is not done here: the trainer draws it from its keyed randomness.
    """

    def __init__(self, num_classes: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        """(batch,) labels in 0..num_classes -> (batch, hidden)."""
        return self.embedding_table(y)


def sincos_position_embedding(hidden_size: int, grid_size: int) -> Tensor:
    """Fixed 2-d sine-cosine positions, (1, grid_size^2, hidden): half of the width for columns, half for rows.

    `hidden_size` must be a multiple of 4.
    """
    quarter = hidden_size // 4
    rates = 1.0 / 10_000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    position = torch.arange(grid_size, dtype=torch.float64)
    row, column = torch.meshgrid(position, position, indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in (column, row)]
    return torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], dim=1).float().unsqueeze(0)


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """(batch, channels, height, width) -> (batch, tokens, channels * patch^2), ordered like a convolution's weights."""
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
