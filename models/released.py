"""Reads the weights that others released: the official DiT's and the released FPDM's state dicts, strictly."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

# Released FPDM name -> ours. Whatever is not listed is named alike in both.
_FPDM_RENAMES = (
    (r"^blocks_pre\.", "pre."),
    (r"^blocks_post\.", "post."),
    (r"^block_fixed_point\.", "implicit.block."),
    (r"^block_pre_projection\.", "implicit.injection."),
    (r"^block_fixed_point_projection_fc1\.", "implicit.proj_fc1."),
    (r"^block_fixed_point_projection_fc2\.", "implicit.proj_fc2."),
)


def load_released(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Load an official DiT or released FPDM state dict into a twin of the same configuration.

    Raises:
        ValueError: a key is missing or unknown, or a shape differs; names them. Nothing is loaded then.
    """
    renamed = {}
    for name, tensor in state_dict.items():
        for pattern, ours in _FPDM_RENAMES:
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
