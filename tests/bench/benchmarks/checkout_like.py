"""A checkout that looks like the official DiT's: its parameter names, its arithmetic, written anew for the tests."""

import math

import torch
from timm.layers import Attention, Mlp, PatchEmbed
from torch import nn


class Modulated(nn.Module):
    def __init__(self, width, count):
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, count * width))

    def vectors(self, c):
        return self.adaLN_modulation(c).unsqueeze(1).chunk(self.adaLN_modulation[1].out_features // c.shape[1], dim=-1)


class Block(Modulated):
    def __init__(self, width, heads):
        super().__init__(width, 6)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, num_heads=heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(width, 4 * width, act_layer=lambda: nn.GELU(approximate="tanh"))

    def forward(self, x, c):
        b1, a1, g1, b2, a2, g2 = self.vectors(c)
        x = x + g1 * self.attn(self.norm1(x) * (1 + a1) + b1)
        return x + g2 * self.mlp(self.norm2(x) * (1 + a2) + b2)


class Final(Modulated):
    def __init__(self, width, out):
        super().__init__(width, 2)
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, out)

    def forward(self, x, c):
        b, a = self.vectors(c)
        return self.linear(self.norm_final(x) * (1 + a) + b)


class Time(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t):
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class Label(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)

    def forward(self, y):
        return self.embedding_table(y)


class DiT(nn.Module):
    def __init__(self, input_size, patch_size, in_channels, hidden_size, depth, num_heads, num_classes):
        super().__init__()
        self.x_embedder = PatchEmbed(input_size, patch_size, in_channels, hidden_size)
        self.t_embedder, self.y_embedder = Time(hidden_size), Label(num_classes, hidden_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, (input_size // patch_size) ** 2, hidden_size), requires_grad=False)
        self.blocks = nn.ModuleList(Block(hidden_size, num_heads) for _ in range(depth))
        self.final_layer = Final(hidden_size, patch_size**2 * 2 * in_channels)
        self.patch = patch_size

    def forward(self, x, t, y):
        c = self.t_embedder(t) + self.y_embedder(y)
        x = self.x_embedder(x) + self.pos_embed
        for block in self.blocks:
            x = block(x, c)
        return self.image(x, c)

    def image(self, x, c):
        x, side = self.final_layer(x, c), math.isqrt(x.shape[1])
        x = x.reshape(len(x), side, side, self.patch, self.patch, -1).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(len(x), x.shape[1], side * self.patch, side * self.patch) * SCALE


SCALE = 1.0
