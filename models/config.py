"""The configuration of a network: plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COMMON = (
    "input_size",
    "patch_size",
    "in_channels",
    "hidden_size",
    "depth",
    "num_heads",
    "num_classes",
    "learn_sigma",
)  # what every family takes; the rest is a family's own option


ITERATIONS = 5  # a forward pass's by default; the paper samples its ablations of training with them (Tables 3 and 4)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a network. Options that its family does not have are None.

    Attributes:
        family: name of its family (`models.families`).
        input_size: height and width of the input, in pixels or latent pixels.
        patch_size: side of a patch; divides `input_size`.
        in_channels: channels of the input.
        hidden_size: width of a token; a multiple of 4 and of `num_heads`.
        depth: number of blocks of the DiT; other families keep it to name the DiT that they are compared with.
        num_heads: attention heads.
        num_classes: labels; 0 for unconditional networks.
        learn_sigma: whether the network predicts a variance beside the mean.
        n_pre, n_post: explicit blocks before and after an implicit or looped layer; of a cached DiT, the first and last
            blocks that run at every step.
        loop_blocks: blocks of one iteration, for families that iterate.
        reuse_mix: share g of the previous solution in the start of the iteration, g z_prev + (1 - g) x_pre, where
            solutions are reused.
        iterations: of a forward pass where none are given, for families that iterate.
    """

    family: str
    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    num_classes: int = 1000
    learn_sigma: bool = True
    n_pre: int | None = None
    n_post: int | None = None
    loop_blocks: int = 1
    reuse_mix: float = 1.0
    iterations: int = ITERATIONS

    def __post_init__(self) -> None:
        if self.input_size % self.patch_size:
            raise ValueError(f"patch_size {self.patch_size} does not divide input_size {self.input_size}")
        if self.hidden_size % self.num_heads or self.hidden_size % 4:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 4 and of num_heads {self.num_heads}"
            )
        if self.loop_blocks < 1:
            raise ValueError(f"loop_blocks must be 1 or more, got {self.loop_blocks}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be 1 or more, got {self.iterations}")
        if not 0 <= self.reuse_mix <= 1:
            raise ValueError(f"reuse_mix must be from 0 to 1, got {self.reuse_mix}")

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return (self.input_size // self.patch_size) ** 2

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

    def identity(self) -> dict[str, Any]:
        """Part of a training run's identity. These names are frozen: records and checkpoints are found by them.

        `iterations` is left out, as no cell leaves its number open. A field that is added later is left out at its
        default, so that the keys of older records stay.
        """
        later = {"loop_blocks": (self.loop_blocks, 1), "reuse_mix": (self.reuse_mix, 1.0)}
        return {
            "kind": self.family,
            "input_size": self.input_size,
            "patch_size": self.patch_size,
            "in_channels": self.in_channels,
            "hidden_size": self.hidden_size,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "num_classes": self.num_classes,
            "learn_sigma": self.learn_sigma,
            "n_pre": self.n_pre,
            "n_post": self.n_post,
            **{name: value for name, (value, default) in later.items() if value != default},
        }
