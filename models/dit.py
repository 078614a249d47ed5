"""DiT: an explicit stack of blocks (Peebles & Xie 2023), the paper's baseline."""

from huggingface_hub import PyTorchModelHubMixin
from timm.layers import PatchEmbed
from torch import Tensor, nn

from models.blocks import (
    DiTBlock,
    FinalLayer,
    LabelEmbedder,
    TimestepEmbedder,
    initialize,
    sincos_position_embedding,
    unpatchify,
)


class DiT(nn.Module, PyTorchModelHubMixin):
    """Diffusion transformer. Every block sees label and timestep.

    Args:
        input_size: height and width of the input, in pixels or latent pixels.
        patch_size: side of a patch; must divide `input_size`.
        in_channels: channels of the input; the output has as many, twice as many with `learn_sigma`.
        hidden_size: width of a token; a multiple of 4 and of `num_heads`.
        depth: number of blocks.
        num_heads: attention heads.
        num_classes: labels 0..num_classes-1; label `num_classes` is the null label.
        learn_sigma: predict the variance beside the mean.
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
        super().__init__()
        self.patch_size = patch_size
        self.out_channels = in_channels * (2 if learn_sigma else 1)
        self.x_embedder = PatchEmbed(input_size, patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        self.register_buffer("pos_embed", sincos_position_embedding(hidden_size, input_size // patch_size))
        self.pos_embed: Tensor
        self.blocks = nn.ModuleList(DiTBlock(hidden_size, num_heads) for _ in range(depth))
        self.final_layer = FinalLayer(hidden_size, patch_size, self.out_channels)
        initialize(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """(batch, in_channels, size, size), (batch,), (batch,) -> prediction (batch, out_channels, size, size)."""
        condition = self.t_embedder(t) + self.y_embedder(y)
        x = self.x_embedder(x) + self.pos_embed
        for block in self.blocks:
            x = block(x, block.modulation(condition))
        return unpatchify(self.final_layer(x, condition), self.patch_size, self.out_channels)

    def predict(
        self, x: Tensor, t: Tensor, y: Tensor, iterations: object = None, init: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """The samplers' and trainers' view (see `sampling.Denoiser`): no iterations to choose, no state to carry."""
        return self(x, t, y), None
