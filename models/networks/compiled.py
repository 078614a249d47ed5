"""Regional compilation: the repeated parts of a network are compiled once, for all blocks, steps and iterations.

The regions are the modules that have a method `compile_region`: the stack of explicit blocks and the implicit layer.
The rest of a network runs once a step and stays eager. The first call with new shapes or another gradient mode
compiles. The state dict's names do not change.
"""

import torch
from torch import nn


def compile_regions(model: nn.Module) -> None:
    """Compile the regions of a network with torch's default compiler, in place.

    Beyond its limit of recompilations torch would warn and go on eager; here it raises.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for module in model.modules():
        if hasattr(module, "compile_region"):
            module.compile_region()  # type: ignore[operator]
