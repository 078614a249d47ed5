"""Networks and the diffusion around them: pure torch, without files, datasets or Slurm.

`from models import create_model, list_models, load_released`; each is imported when it is first used.
"""

import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.released import load_released
    from models.zoo import create_model, list_models

__all__ = ["create_model", "list_models", "load_released"]

_HOMES = {"create_model": "models.zoo", "list_models": "models.zoo", "load_released": "models.released"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return pkgutil.resolve_name(f"{_HOMES[name]}:{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
