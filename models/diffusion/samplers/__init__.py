"""The samplers: a module of this folder registers each (`registry.register`). Importing them loads no torch."""

import pkgutil
from importlib import import_module

from models.diffusion.samplers.registry import SAMPLERS, Sampler, get_sampler, label_of, register

__all__ = ["SAMPLERS", "Sampler", "get_sampler", "label_of", "register"]

for _name in ("ddpm", "ddim", *(found.name for found in pkgutil.iter_modules(__path__))):  # the paper's come first
    import_module(f"{__name__}.{_name}")
