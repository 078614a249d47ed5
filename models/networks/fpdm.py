"""FPDM: pre blocks, one implicit layer, post blocks (paper, Sec. 3.2, Eqs. 1-4; Figure 2).

    x_pre = pre(x_input | y)                                               (1)
    x~    = Linear(x_pre)                                                  (2)
    z*    = blocks(proj([z*, x~]) | y, t), proj = Linear -> GELU -> Linear (3)
    x_post = post(z* | y)                                                  (4)

The paper has one block in the implicit layer. Pre and post blocks and the final layer are conditioned on the label
only, the implicit layer on label and timestep. Two things do not change between the iterations of one step and are
computed once: the half of proj's first map that acts on x~, and the blocks' modulations.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from models.config import ITERATIONS
from models.diffusion.denoiser import Prediction
from models.fixed_point.solvers import Function, Solution, Solver, as_solver
from models.networks.activations import gelu_tanh
from models.networks.blocks import BlockStack, Modulation
from models.networks.looped import LoopedLayer
from models.networks.patch_network import PatchNetwork, initialize


class ImplicitLayer(LoopedLayer):
    """The implicit layer f(z) = blocks(proj([z, x~]), c) of Eq. 3: a looped layer with an injection of its input."""

    def __init__(self, hidden_size: int, num_heads: int, loop_blocks: int = 1) -> None:
        super().__init__(hidden_size, num_heads, loop_blocks)
        self.injection = nn.Linear(hidden_size, hidden_size)
        self.proj_fc1 = nn.Linear(2 * hidden_size, 2 * hidden_size)
        self.proj_fc2 = nn.Linear(2 * hidden_size, hidden_size)

    def bind(self, x_pre: Tensor, condition: Tensor) -> Function:
        """The f of one step, for given x_pre (batch, tokens, hidden) and condition (batch, hidden).

        proj_fc1([z, x~]) = W_z z + (W_x x~ + b). The bracket is computed here, once.
        """
        weight_z, weight_x = (half.contiguous() for half in self.proj_fc1.weight.chunk(2, dim=1))
        injected = F.linear(self.injection(x_pre), weight_x, self.proj_fc1.bias)
        weight_z = weight_z.to(injected.dtype)  # autocast caches casts of parameters only
        return self.repeated(weight_z=weight_z, injected=injected, modulations=self.modulations(condition))

    def iterate(  # type: ignore[override]
        self, z: Tensor, modulations: list[Modulation], weight_z: Tensor, injected: Tensor
    ) -> Tensor:
        """f(z): (batch, tokens, hidden) -> the same shape. `bind` computes the other arguments."""
        hidden = gelu_tanh(F.linear(z, weight_z).add_(injected))
        return super().iterate(self.proj_fc2(hidden), modulations)


class FPDM(PatchNetwork, PyTorchModelHubMixin):
    """Fixed point diffusion model.

    Args:
        input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma: as for `PatchNetwork`.
        num_heads: attention heads, must divide `hidden_size`.
        depth: depth of the DiT that this network is compared with. It is kept in the configuration and builds nothing.
        n_pre: explicit blocks before the implicit layer.
        n_post: explicit blocks after it.
        loop_blocks: blocks in the implicit layer.
        reuse_mix: share g of `init` in the start of the iteration, g init + (1 - g) x_pre; the paper has g = 1.
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
        reuse_mix: float = 1.0,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__(input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma)
        self.reuse_mix, self.iterations = reuse_mix, iterations
        self.pre = BlockStack(n_pre, hidden_size, num_heads)
        self.implicit = ImplicitLayer(hidden_size, num_heads, loop_blocks)
        self.post = BlockStack(n_post, hidden_size, num_heads)
        initialize(self)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor, *, iterations: int | Solver | None = None, init: Tensor | None = None
    ) -> tuple[Tensor, Solution]:
        """Predict, solving the implicit layer.

        Args:
            x: (batch, in_channels, size, size).
            t, y: (batch,) timesteps and labels.
            iterations: a number of iterations, or a solver (`FixedCount`, `Tolerance`, `Unroll`); by default the
                configuration's number, which a warning names.
            init: start of the iteration (batch, tokens, hidden), e.g. `Solution.z` of the previous step (Sec. 3.3,
                reuse), mixed with x_pre by `reuse_mix`. The default is x_pre.

        Returns:
            prediction (batch, out_channels, size, size), and the Solution with z (batch, tokens, hidden).
        """
        label = self.y_embedder(y)
        x_pre = self.pre(self.to_tokens(x), label)
        f = self.implicit.bind(x_pre, label + self.t_embedder(t))
        solution = as_solver(self.chosen(iterations))(f, x_pre if init is None else self._mixed(x_pre, init))
        return self.to_image(self.post(solution.z, label), label), solution

    def _mixed(self, x_pre: Tensor, init: Tensor) -> Tensor:
        return init if self.reuse_mix == 1 else torch.lerp(x_pre, init.to(x_pre.dtype), self.reuse_mix)

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, state: Any = None) -> Prediction:
        """As `Denoiser.predict`; the state is the solution z, (batch, tokens, hidden)."""
        prediction, solution = self(x, t, y, iterations=iterations, init=state)
        return Prediction(prediction, solution.z, solution)

    def timed_parts(self, tokens: Tensor, condition: Tensor) -> dict[str, Callable[[], object]]:
        """An iteration, and the binding that comes before the iterations of a step."""
        f = self.implicit.bind(tokens, condition)
        return {"iteration": lambda: f(tokens), "binding": lambda: self.implicit.bind(tokens, condition)}
