"""Regional compilation: what a network repeats is compiled once, and shared by all blocks, steps and iterations.

The regions are the explicit block and the iteration of the implicit layer. Everything else of a network runs once a
step, and stays eager. Compiled is the first call with new shapes or another gradient mode; names in the state dict
stay as they are.
"""

import torch
from torch import nn

from models.networks.blocks import BlockStack
from models.networks.fpdm import ImplicitLayer


def compile_regions(model: nn.Module) -> None:
    """Have the blocks and iterations of a DiT or FPDM compiled by torch's default compiler, in place.

    Beyond its limit of recompilations torch would go on eager, with a warning; here it raises.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for module in model.modules():
        if isinstance(module, BlockStack):
            for block in module:
                block.compile(dynamic=False)
        elif isinstance(module, ImplicitLayer):
            module.iterate = torch.compile(module.iterate, dynamic=False)  # type: ignore[method-assign]
