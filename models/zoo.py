"""Sizes and `create_model`, timm's convention: `create_model("dit_xl_2")`, `create_model("fpdm_s_4", input_size=16)`.

Sizes are plain data: torch is imported when a model is made, so that grids can be enumerated without it.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.config import COMMON, ModelConfig
from models.families import FAMILIES, build

if TYPE_CHECKING:
    from models.networks.network import Network

# name -> depth, hidden_size, num_heads (Peebles & Xie 2023, Table 1); "xs" is ours, for trying a cluster
SIZES = {"xs": (4, 64, 4), "s": (12, 384, 6), "b": (12, 768, 12), "l": (24, 1024, 16), "xl": (28, 1152, 16)}
PATCH_SIZES = (2, 4, 8)


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes, those that match a pattern such as "fpdm*"."""
    names = (f"{family}_{size}_{patch}" for family in FAMILIES for size in SIZES for patch in PATCH_SIZES)
    return [name for name in names if fnmatch(name, pattern)]


def model_config(name: str, **overrides: Any) -> ModelConfig:
    """The configuration called `name`, "dit_xl_2" or as in papers "DiT-XL/2": family, size, patch size.

    Raises:
        ValueError: unknown name or override.
    """
    match = re.fullmatch(r"(.+)_([a-z]+)_(\d+)", re.sub("[-/]", "_", name.lower()))
    if match is None or match[1] not in FAMILIES or match[2] not in SIZES:
        raise ValueError(
            f"unknown model {name!r}: no such folder; a name is FAMILY_SIZE_PATCH, as dit_xl_2 or DiT-XL/2, FAMILY of "
            f"{', '.join(FAMILIES)}, SIZE of {', '.join(SIZES)}"
        )
    options = FAMILIES[match[1]].options
    allowed = {*COMMON, *options}
    if unknown := sorted(overrides.keys() - allowed):
        raise ValueError(f"{name} has no option {', '.join(unknown)}; options are {', '.join(sorted(allowed))}")
    depth, hidden_size, num_heads = SIZES[match[2]]
    size = {"patch_size": int(match[3]), "depth": depth, "hidden_size": hidden_size, "num_heads": num_heads}
    return ModelConfig(match[1], **{**options, **size, **overrides})


def create_model(name: str, **overrides: Any) -> Network:
    """Make the network called `name` (`model_config`), or load the one of a folder (`models.pretrained`).

    Raises:
        ValueError: unknown name or override, or the folder's files are damaged.
        OSError: the folder lacks a file.
    """
    if not Path(name).is_dir():
        return build(model_config(name, **overrides))
    from models.pretrained import load_network

    if overrides:
        raise ValueError(f"{name} has its options already: leave out {', '.join(sorted(overrides))}")
    return load_network(name)[0]
