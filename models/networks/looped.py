"""Looped transformer: FPDM without the injection, so that the input enters through the start of the loop only.

    x_pre  = pre(x_input | y)
    z_0    = x_pre,  z_i = blocks(z_{i-1} | y, t),  i = 1..k
    x_post = post(z_k | y)

It is the control that shows what FPDM's injection contributes. The same blocks are applied k times, as in a looped
transformer (Giannou et al. 2023), whose depth is chosen when sampling.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from models.config import ITERATIONS
from models.diffusion.denoiser import Prediction
from models.fixed_point.solvers import Function, Solution, Solver, as_solver
from models.fixed_point.unroll import Unroll
from models.networks.blocks import BlockStack, DiTBlock, Modulation
from models.networks.checkpointing import recomputed
from models.networks.patch_network import PatchNetwork, initialize


class LoopedLayer(nn.Module):
    """Blocks that are applied many times under one condition; their modulations are computed once.

    Attributes:
        grad_checkpointing: whether backward recomputes each iteration. Then an iteration with gradient keeps its input
            state (batch, tokens, hidden) and nothing else.
    """

    def __init__(self, hidden_size: int, num_heads: int, loop_blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DiTBlock(hidden_size, num_heads) for _ in range(loop_blocks))
        self.grad_checkpointing = False

    def bind(self, x_pre: Tensor, condition: Tensor) -> Function:
        """The function that one step iterates, for a condition (batch, hidden). It does not depend on x_pre."""
        return self.repeated(modulations=self.modulations(condition))

    def modulations(self, condition: Tensor) -> list[Modulation]:
        """The modulation of each block, for a condition (batch, hidden)."""
        return [cast(DiTBlock, block).modulation(condition) for block in self.blocks]

    def repeated(self, **bound: Any) -> Function:
        """`iterate` with all arguments but z."""
        f = partial(self.iterate, **bound)
        return partial(recomputed, f) if self.grad_checkpointing else f

    def compile_region(self, **options: Any) -> None:
        """Compile an iteration, in place, with options of `torch.compile`."""
        self.iterate = torch.compile(self.iterate, **options)  # type: ignore[method-assign]

    def iterate(self, z: Tensor, modulations: list[Modulation]) -> Tensor:
        """One iteration: (batch, tokens, hidden) -> the same shape."""
        for block, modulation in zip(self.blocks, modulations, strict=True):
            z = block(z, modulation)
        return z


class Looped(PatchNetwork, PyTorchModelHubMixin):
    """Looped transformer with explicit blocks around the loop.

    Args:
        input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma: as for `PatchNetwork`.
        num_heads: attention heads, must divide `hidden_size`.
        depth: depth of the DiT that this network is compared with. It is kept in the configuration and builds nothing.
        n_pre, n_post: explicit blocks before and after the loop.
        loop_blocks: blocks in the loop.
        iterations: of `forward` where none are given.
    """

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        num_classes: int = 1000,
        learn_sigma: bool = True,
        n_pre: int = 1,
        n_post: int = 1,
        loop_blocks: int = 1,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__(input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma)
        self.iterations = iterations
        self.pre = BlockStack(n_pre, hidden_size, num_heads)
        self.loop = LoopedLayer(hidden_size, num_heads, loop_blocks)
        self.post = BlockStack(n_post, hidden_size, num_heads)
        initialize(self)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor, *, iterations: int | Solver | None = None
    ) -> tuple[Tensor, Solution]:
        """Predict, running the loop.

        Args:
            x: (batch, in_channels, size, size).
            t, y: (batch,) timesteps and labels.
            iterations: a number of iterations, or a solver; by default the configuration's number, which a warning
                names. An `Unroll` passes the gradient of the detached state on to x_pre: without an injection, pre
                blocks and embedding would not be trained otherwise.

        Returns:
            prediction (batch, out_channels, size, size), and the Solution with z (batch, tokens, hidden).
        """
        label = self.y_embedder(y)
        x_pre = self.pre(self.to_tokens(x), label)
        f = self.loop.bind(x_pre, label + self.t_embedder(t))
        solver = as_solver(self.chosen(iterations))
        if isinstance(solver, Unroll):
            solver = replace(solver, through_start=True)
        solution = solver(f, x_pre)
        return self.to_image(self.post(solution.z, label), label), solution

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, state: Any = None) -> Prediction:
        """As `Denoiser.predict`. ValueError for a state: a loop that starts elsewhere would not see x."""
        if state is not None:
            raise ValueError("a looped network cannot reuse a state: x_t enters only where its loop starts")
        prediction, solution = self(x, t, y, iterations=iterations)
        return Prediction(prediction, None, solution)

    def timed_parts(self, tokens: Tensor, condition: Tensor) -> dict[str, Callable[[], object]]:
        """A block with its modulation, and without."""
        return cast(DiTBlock, self.loop.blocks[0]).timed_parts(tokens, condition)
