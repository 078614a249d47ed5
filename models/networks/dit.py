"""DiT: an explicit stack of blocks (Peebles & Xie 2023), the paper's baseline."""

from collections.abc import Callable
from typing import cast

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor

from models.diffusion.denoiser import Prediction
from models.networks.blocks import BlockStack, DiTBlock
from models.networks.patch_network import PatchNetwork, initialize


class DiT(PatchNetwork, PyTorchModelHubMixin):
    """Diffusion transformer. Every block is conditioned on label and timestep.

    Args:
        input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma: as for `PatchNetwork`.
        depth: number of blocks.
        num_heads: attention heads, must divide `hidden_size`.
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
    ) -> None:
        super().__init__(input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma)
        self.blocks = BlockStack(depth, hidden_size, num_heads)
        initialize(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """(batch, in_channels, size, size), (batch,), (batch,) -> prediction (batch, out_channels, size, size)."""
        condition = self.t_embedder(t) + self.y_embedder(y)
        return self.to_image(self.blocks(self.to_tokens(x), condition), condition)

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: object = None, state: object = None) -> Prediction:
        """As `Denoiser.predict`; `iterations` and `state` are ignored."""
        return Prediction(self(x, t, y))

    def timed_parts(self, tokens: Tensor, condition: Tensor) -> dict[str, Callable[[], object]]:
        """A block with its modulation, and without."""
        return cast(DiTBlock, self.blocks[0]).timed_parts(tokens, condition)
