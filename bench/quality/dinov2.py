"""DINOv2's features (Oquab et al. 2023), in which Stein et al. (2023) recommend to take Frechet distances.

Preprocessing is that of torch-fidelity's extractor: bilinear to 224 pixels, then ImageNet's mean and spread. That
extractor runs a network that torch.hub downloads as code, and takes no weights from a file. Here the network is timm's,
and the weights are those of a file, of which only tensors are read. The features are the normalised class token.
"""

from pathlib import Path

import torch
from timm.models import create_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from bench.quality.extractor import Extractor
from bench.quality.inception import state_digest
from bench.spec.extractors import FeatureExtractor
from bench.store.tensors import as_state_dict
from bench.system.errors import BadInputError

LAYER = "dinov2"
# length of a feature -> torch-fidelity's and timm's name of the network
NETWORKS = {
    384: ("dinov2-vit-s-14", "vit_small_patch14_dinov2"),
    768: ("dinov2-vit-b-14", "vit_base_patch14_dinov2"),
    1024: ("dinov2-vit-l-14", "vit_large_patch14_dinov2"),
    1536: ("dinov2-vit-g-14", "vit_giant_patch14_dinov2"),
}
PATCH, TRAINED_GRID = 14, 37  # pixels a side of a patch; patches a side that the position embedding is of
MASK = "mask_token"  # for training only: timm tells DINOv2's own files by it and leaves it out
REGISTERS = "register_tokens"  # of networks that torch-fidelity does not have
GRID = FeatureExtractorDinoV2.INPUT_IMAGE_SIZE // PATCH
OFFSET = 0.1  # of DINOv2's code, which resizes by this factor: (GRID + OFFSET) / TRAINED_GRID


class DinoV2(FeatureExtractorDinoV2):
    """torch-fidelity's extractor around a network with given weights.

    Args:
        name: torch-fidelity's name of the network.
        network: images of 224 pixels -> features, (batch, dimensions).
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        FeatureExtractorBase.__init__(self, name, [LAYER])  # its own would download the network
        self.feature_extractor_internal_dtype = torch.float32
        self.model = network
        self.requires_grad_(False).eval()


def load_dinov2(
    extractor: FeatureExtractor, device: torch.device, weights: Path | None, _images: Tensor | None = None
) -> Extractor:
    """DINOv2 on a device, with weights from a file. Its name says which of four sizes they are of.

    Args:
        extractor: its registration.
        device: where features are computed.
        weights: DINOv2's own file (dinov2_vitl14_pretrain.pth), or a .safetensors file of the same tensors or timm's.

    Raises:
        BadInputError: no file is given, or it is missing or has other content.
    """
    if weights is None:
        raise BadInputError(f"{extractor.label}'s weights are not downloaded: give them by --dinov2-weights FILE")
    state = _read(weights)
    digest = state_digest({name: tensor for name, tensor in state.items() if name != MASK})
    positions = state.get("pos_embed", torch.zeros(0))
    if positions.ndim != 3 or positions.shape[-1] not in NETWORKS or positions.shape[1] != 1 + TRAINED_GRID**2:
        raise BadInputError(f"{_not_weights(weights)} (pos_embed of shape {list(positions.shape)})")
    if REGISTERS in state:
        raise BadInputError(f"{_not_weights(weights)} (it has registers)")
    name, timms = NETWORKS[dimensions := positions.shape[-1]]
    network = create_model(timms, img_size=FeatureExtractorDinoV2.INPUT_IMAGE_SIZE)
    assert isinstance(network, VisionTransformer)
    state["pos_embed"] = resized(positions)
    try:
        network.load_state_dict(checkpoint_filter_fn(state, network))
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BadInputError(f"{_not_weights(weights)} ({reason}...)") from error
    return Extractor(DinoV2(name, network), name, digest, dimensions, device)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"--dinov2-weights {path}: cannot be read ({error.strerror or error})") from error
    if (state := as_state_dict(path, content)) is None:
        raise BadInputError(f"{_not_weights(path)} (not a state dict of tensors)")
    return state


def resized(positions: Tensor) -> Tensor:
    """Position embedding of a 37 x 37 grid -> of 16 x 16, (1, 1 + patches, dimensions), as DINOv2's code resizes it.

    timm would interpolate with antialiasing, and features would differ.
    """
    of_class, of_patches = positions.float().split([1, TRAINED_GRID**2], dim=1)
    square = of_patches.unflatten(1, (TRAINED_GRID, TRAINED_GRID)).permute(0, 3, 1, 2)
    factor = (GRID + OFFSET) / TRAINED_GRID
    smaller = nn.functional.interpolate(square, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([of_class, smaller.flatten(2).transpose(1, 2)], dim=1)


def _not_weights(path: Path) -> str:
    return f"--dinov2-weights {path}: not the weights of DINOv2, such as dinov2_vitl14_pretrain.pth"
