"""Regional compilation: the repeated parts of a network are compiled once, for all blocks, steps and iterations.

The regions are the modules that have a method `compile_region`: the stack of explicit blocks and the implicit layer.
The rest of a network runs once a step and stays eager. The first call with new shapes or another gradient mode
compiles. The state dict's names do not change.
"""

import torch
from timm.layers import Attention
from torch import nn

from models.networks.patch_network import PatchNetwork

_FEW_TOKENS = 16


def compile_regions(model: nn.Module, threads: int | None = None) -> None:
    """Compile the regions of a network with torch's default compiler, in place.

    Beyond its limit of recompilations torch would warn and go on eager; here it raises.

    Args:
        model: a network, on the device where it runs.
        threads: CPU threads of each call; by default those that torch uses now.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    if isinstance(model, PatchNetwork) and model.pos_embed.device.type == "cpu":
        for module in model.modules():
            if isinstance(module, Attention):
                # torch's fused kernel spends more on each head than two products of so few tokens take
                module.fused_attn = model.pos_embed.shape[1] > _FEW_TOKENS  # type: ignore[misc]
    # torch compiles for a number of threads, but its cache on disk would return code for another number
    options = {"cpp.threads": threads or torch.get_num_threads()}
    for module in model.modules():
        if hasattr(module, "compile_region"):
            module.compile_region(dynamic=False, options=options)  # type: ignore[operator]
