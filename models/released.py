"""Loads the state dicts of the official DiT and the released FPDM, strictly."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from models.families import FAMILIES


def load_released(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Load a state dict of the official DiT or the released FPDM into a model of the same configuration.

    Raises:
        ValueError: a key is missing or unknown, or a shape differs. The message names them, and nothing is loaded.
    """
    renamed = {}
    renames = [rename for family in FAMILIES.values() for rename in family.renames]  # no two families' names clash
    for name, tensor in state_dict.items():
        for pattern, ours in renames:
            name = re.sub(pattern, ours, name)
        renamed[name] = tensor
    expected = model.state_dict()
    missing, unknown = sorted(expected.keys() - renamed.keys()), sorted(renamed.keys() - expected.keys())
    differing = [
        f"{name}: {tuple(renamed[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in renamed and renamed[name].shape != tensor.shape
    ]
    problems = [
        f"{kind} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for kind, names in (("missing", missing), ("unknown", unknown), ("shape of", differing))
        if names
    ]
    if problems:
        raise ValueError(f"state dict does not fit {type(model).__name__}: " + "; ".join(problems))
    model.load_state_dict(renamed)
