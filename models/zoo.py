"""Sizes and `create_model`, timm's convention: `create_model("dit_xl_2")`, `create_model("fpdm_s_4", input_size=16)`.

Sizes are plain data: torch is imported when a model is made, so that grids can be enumerated without it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.networks.dit import DiT
    from models.networks.fpdm import FPDM

# name -> depth, hidden_size, num_heads (Peebles & Xie 2023, Table 1); "xs" is ours, for trying a cluster
SIZES = {"xs": (4, 64, 4), "s": (12, 384, 6), "b": (12, 768, 12), "l": (24, 1024, 16), "xl": (28, 1152, 16)}


@dataclass(frozen=True)
class ModelConfig:
    """What defines a network's shape. `n_pre` and `n_post` are None for a DiT. Units as in `DiT` and `FPDM`."""

    kind: str
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

    def __post_init__(self) -> None:
        if self.kind not in ("dit", "fpdm"):
            raise ValueError(f"kind must be dit or fpdm, got {self.kind!r}")
        if self.input_size % self.patch_size:
            raise ValueError(f"patch_size {self.patch_size} does not divide input_size {self.input_size}")
        if self.hidden_size % self.num_heads or self.hidden_size % 4:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 4 and of num_heads {self.num_heads}"
            )

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return (self.input_size // self.patch_size) ** 2

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def implicit(self) -> bool:
        """Whether it has an implicit layer, hence iterations to choose and solutions to reuse."""
        return self.n_pre is not None and self.n_post is not None

    @property
    def least_passes(self) -> int:
        """Block passes of its cheapest prediction."""
        return (self.n_pre or 0) + 1 + (self.n_post or 0) if self.implicit else self.depth

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the model's constructor."""
        return {k: v for k, v in asdict(self).items() if k != "kind" and v is not None}


def model_config(name: str, **overrides: Any) -> ModelConfig:
    """The configuration called `name`, e.g. "dit_xl_2": kind, size, patch size.

    Raises:
        ValueError: unknown name or override.
    """
    match = re.fullmatch(r"(dit|fpdm)_([a-z]+)_(\d+)", name)
    if match is None or match[2] not in SIZES:
        raise ValueError(
            f"unknown model {name!r}; expected dit_SIZE_PATCH or fpdm_SIZE_PATCH, SIZE of {', '.join(SIZES)}"
        )
    depth, hidden_size, num_heads = SIZES[match[2]]
    config = ModelConfig(
        kind=match[1],
        patch_size=int(match[3]),
        depth=depth,
        hidden_size=hidden_size,
        num_heads=num_heads,
        n_pre=1 if match[1] == "fpdm" else None,
        n_post=1 if match[1] == "fpdm" else None,
    )
    allowed = {f.name for f in fields(ModelConfig)} - {"kind"}
    if config.kind == "dit":
        allowed -= {"n_pre", "n_post"}
    if unknown := sorted(overrides.keys() - allowed):
        raise ValueError(f"{name} has no option {', '.join(unknown)}; options are {', '.join(sorted(allowed))}")
    return replace(config, **overrides)


def build(config: ModelConfig) -> DiT | FPDM:
    """Make the network of a configuration, freshly initialised from torch's global generator."""
    from models.networks.dit import DiT
    from models.networks.fpdm import FPDM

    return {"dit": DiT, "fpdm": FPDM}[config.kind](**config.arguments())


def create_model(name: str, **overrides: Any) -> DiT | FPDM:
    """Make the network called `name`; see `model_config` for names and errors."""
    return build(model_config(name, **overrides))
