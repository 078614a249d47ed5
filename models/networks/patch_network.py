"""The parts around the blocks of every network: embedders, positions, final layer, initialisation."""

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed
from torch import Tensor, nn

from models.networks.blocks import TokenNorm
from models.networks.embedders import (
    LabelEmbedder,
    TimestepEmbedder,
    patchify,
    sincos_position_embedding,
    unpatchify,
)
from models.networks.network import Network


class FinalLayer(nn.Module):
    """Modulated LayerNorm and the projection of each token to its patch."""

    def __init__(self, hidden_size: int, patch_size: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = TokenNorm(hidden_size)
        self.linear = nn.Linear(hidden_size, patch_size**2 * out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, tokens, patch^2 * out_channels)."""
        shift, scale = self.adaLN_modulation(condition).unsqueeze(1).chunk(2, dim=-1)
        return self.linear(torch.addcmul(shift, self.norm_final(x), 1 + scale))


class PatchNetwork(Network):
    """Base class of the networks: embedders, fixed positions and final layer, without the blocks.

    Args:
        input_size: height and width of the input, in pixels or latent pixels.
        patch_size: side of a patch; must divide `input_size`.
        in_channels: channels of the input. The output has as many, or twice as many with `learn_sigma`.
        hidden_size: width of a token, a multiple of 4.
        num_classes: labels are 0..num_classes-1, and `num_classes` is the null label.
        learn_sigma: predict the variance beside the mean.
    """

    def __init__(
        self, input_size: int, patch_size: int, in_channels: int, hidden_size: int, num_classes: int, learn_sigma: bool
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.out_channels = in_channels * (2 if learn_sigma else 1)
        self.x_embedder = PatchEmbed(input_size, patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        self.register_buffer("pos_embed", sincos_position_embedding(hidden_size, input_size // patch_size))
        self.pos_embed: Tensor
        self.final_layer = FinalLayer(hidden_size, patch_size, self.out_channels)

    def to_tokens(self, x: Tensor) -> Tensor:
        """(batch, in_channels, size, size) -> (batch, tokens, hidden)."""
        projection = self.x_embedder.proj
        # A matrix product instead of the equal convolution, whose result would have to be transposed: every sum of the
        # residual stream would inherit that layout.
        return F.linear(patchify(x, self.patch_size), projection.weight.flatten(1), projection.bias) + self.pos_embed

    def to_image(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, hidden), (batch, hidden) -> (batch, out_channels, size, size)."""
        return unpatchify(self.final_layer(tokens, condition), self.patch_size, self.out_channels)


def initialize(model: nn.Module) -> None:
    """DiT's initialisation: Xavier for linear maps, N(0, 0.02) for embeddings, zero for modulations and the output.

    Zero modulations make every block the identity at the start (adaLN-zero).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):  # the patch embedding, initialised as the linear map that it is
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if "t_embedder.mlp" in name and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and ("adaLN_modulation" in name or name == "final_layer.linear"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
