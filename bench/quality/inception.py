"""torch-fidelity's Inception, the usual extractor of 256-pixel images, with weights that are read safely.

The weights are torch-fidelity's own, downloaded into torch's cache as it would itself, or a file of the user's, for
nodes without internet. torch-fidelity unpickles whatever it finds in such a file. Here only tensors are read, and it is
handed what was read. The digest is of the tensors, whatever file they come in.
"""

import os
import sys
from hashlib import sha256
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from bench.quality.extractor_weights import INCEPTION
from bench.system.errors import BadInputError

LAYER = "2048"  # the last pooling, whose features FID and KID are made of


def load_inception(weights: Path | None = None) -> tuple[FeatureExtractorInceptionV3, str]:
    """The network, on the CPU, and the digest of its weights.

    Args:
        weights: a state dict saved by torch, or a .safetensors file; None for torch-fidelity's download.

    Raises:
        BadInputError: the file is missing or holds something else, or there is none and no internet.
    """
    path = _downloaded() if weights is None else weights
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"--inception-weights {path}: cannot be read ({error.strerror or error})") from error
    state, ours = _state_dict(path, content), BytesIO()
    torch.save(state, ours)
    ours.seek(0)
    try:
        network = FeatureExtractorInceptionV3(INCEPTION, [LAYER], feature_extractor_weights_path=ours)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise BadInputError(f"{_not_weights(path)} ({reason}...)") from error
    return network, state_digest(state)


def state_digest(state: dict[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 over the tensors' names, types, shapes and bytes, in the order of names."""
    hasher = sha256()
    for name, tensor in sorted(state.items()):
        hasher.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        hasher.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()[:16]


def _state_dict(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a file; nothing else is unpickled."""
    try:
        state: Any
        if path.suffix == ".safetensors":
            state = load_safetensors(content)
        else:
            state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler makes of other bytes
        raise BadInputError(f"{_not_weights(path)} (not a state dict of tensors)") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInputError(f"{_not_weights(path)} (not a state dict of tensors)")
    return state


def _not_weights(path: Path) -> str:
    name = URL_INCEPTION_V3.rpartition("/")[2]
    return f"--inception-weights {path}: not the weights of torch-fidelity's Inception, {name}"


def _downloaded() -> Path:
    """torch-fidelity's weights in torch's cache, downloaded if they are not there. BadInputError without internet."""
    name = URL_INCEPTION_V3.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"downloading {name} to {path.parent}", file=sys.stderr)
    hash_prefix = Path(name).stem.rpartition("-")[2]  # torch.hub's convention
    try:
        torch.hub.download_url_to_file(URL_INCEPTION_V3, os.fspath(path), hash_prefix, progress=sys.stderr.isatty())
    except (URLError, HTTPException, ConnectionError, TimeoutError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise BadInputError(
            f"{name} cannot be downloaded ({reason}): give Inception's weights by --inception-weights FILE"
        ) from error
    return path
