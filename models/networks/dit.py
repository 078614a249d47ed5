"""DiT: an explicit stack of blocks (Peebles & Xie 2023), the paper's baseline."""

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor

from models.networks.blocks import BlockStack, PatchNetwork, initialize


class DiT(PatchNetwork, PyTorchModelHubMixin):
    """Diffusion transformer. Every block sees label and timestep.

    Args:
        input_size, patch_size, in_channels, hidden_size, num_classes, learn_sigma: as for `PatchNetwork`.
        depth: number of blocks.
        num_heads: attention heads; must divide `hidden_size`.
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

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training recomputes each block in backward instead of keeping its activations; timm's convention."""
        self.blocks.grad_checkpointing = enable

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """(batch, in_channels, size, size), (batch,), (batch,) -> prediction (batch, out_channels, size, size)."""
        condition = self.t_embedder(t) + self.y_embedder(y)
        return self.to_image(self.blocks(self.to_tokens(x), condition), condition)

    def predict(
        self, x: Tensor, t: Tensor, y: Tensor, iterations: object = None, init: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """The samplers' and trainers' view (see `sampling.Denoiser`): no iterations to choose, no state to carry."""
        return self(x, t, y), None
