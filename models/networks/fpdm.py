"""FPDM: pre blocks, one implicit layer, post blocks (paper, Sec. 3.2, Eqs. 1-4; Figure 2).

    x_pre = pre(x_input | y)                                               (1)
    x~    = Linear(x_pre)                                                  (2)
    z*    = block(proj([z*, x~]) | y, t),  proj = Linear -> GELU -> Linear (3)
    x_post = post(z* | y)                                                  (4)

Pre and post blocks and the final layer see the label only, the implicit layer label and timestep. What does not change
between the iterations of one step is computed once: x~'s half of proj's first map, and the block's modulation.
"""

from functools import partial

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from models.fixed_point.solvers import FixedCount, Function, Solution, Solver
from models.networks.activations import gelu_tanh
from models.networks.blocks import BlockStack, DiTBlock, Modulation, PatchNetwork, initialize
from models.networks.checkpointing import recomputed
from models.networks.linear import TokenLinear, token_linear


class ImplicitLayer(nn.Module):
    """The implicit layer f(z) = block(proj([z, x~]), c) of Eq. 3.

    Attributes:
        grad_checkpointing: whether each iteration is recomputed in backward.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.injection = TokenLinear(hidden_size, hidden_size)
        self.proj_fc1 = TokenLinear(2 * hidden_size, 2 * hidden_size)
        self.proj_fc2 = TokenLinear(2 * hidden_size, hidden_size)
        self.block = DiTBlock(hidden_size, num_heads)
        self.grad_checkpointing = False

    def bind(self, x_pre: Tensor, condition: Tensor) -> Function:
        """Fix x_pre (batch, tokens, hidden) and the condition (batch, hidden): the f of this step.

        proj_fc1([z, x~]) = W_z z + (W_x x~ + b); the bracket is computed here, once.
        """
        weight_z, weight_x = (half.contiguous() for half in self.proj_fc1.weight.chunk(2, dim=1))
        injected = token_linear(self.injection(x_pre), weight_x, self.proj_fc1.bias)
        weight_z = weight_z.to(injected.dtype)  # autocast would cast what is no parameter at every iteration
        modulation = self.block.modulation(condition)

        f = partial(self.iterate, weight_z=weight_z, injected=injected, modulation=modulation)
        return partial(recomputed, f) if self.grad_checkpointing else f

    def iterate(self, z: Tensor, weight_z: Tensor, injected: Tensor, modulation: Modulation) -> Tensor:
        """f(z), (batch, tokens, hidden), from what `bind` computed."""
        hidden = gelu_tanh(token_linear(z, weight_z).add_(injected))
        return self.block(self.proj_fc2(hidden), modulation)


class FPDM(PatchNetwork, PyTorchModelHubMixin):
    """Fixed point diffusion model.

    Args:
        input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma: as for `PatchNetwork`.
        num_heads: attention heads; must divide `hidden_size`.
        depth: depth of the DiT that this is the twin of; kept with the configuration, builds nothing.
        n_pre: explicit blocks before the implicit layer.
        n_post: explicit blocks after it.
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
    ) -> None:
        super().__init__(input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma)
        self.pre = BlockStack(n_pre, hidden_size, num_heads)
        self.implicit = ImplicitLayer(hidden_size, num_heads)
        self.post = BlockStack(n_post, hidden_size, num_heads)
        initialize(self)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training recomputes each explicit block and each iteration in backward; timm's convention.

        Of the iterations with gradient, each state (batch, tokens, hidden) is kept then, and nothing else.
        """
        self.pre.grad_checkpointing = self.implicit.grad_checkpointing = self.post.grad_checkpointing = enable

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor, *, iterations: int | Solver, init: Tensor | None = None
    ) -> tuple[Tensor, Solution]:
        """Predict, solving the implicit layer.

        Args:
            x: (batch, in_channels, size, size).
            t, y: (batch,) timesteps and labels.
            iterations: how many, or a solver (`FixedCount`, `Tolerance`, `Unroll`).
            init: (batch, tokens, hidden) where the iteration starts, e.g. `Solution.z` of the previous step
                (Sec. 3.3, reuse); x_pre if None.

        Returns:
            prediction (batch, out_channels, size, size) and the Solution, its z (batch, tokens, hidden).
        """
        label = self.y_embedder(y)
        x_pre = self.pre(self.to_tokens(x), label)
        f = self.implicit.bind(x_pre, label + self.t_embedder(t))
        solver = FixedCount(iterations) if isinstance(iterations, int) else iterations
        solution = solver(f, x_pre if init is None else init)
        return self.to_image(self.post(solution.z, label), label), solution

    def predict(
        self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, init: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The samplers' and trainers' view (see `sampling.Denoiser`): prediction and the state to carry on, z."""
        prediction, solution = self(x, t, y, iterations=iterations, init=init)
        return prediction, solution.z
