"""torch-fidelity's Inception, the usual extractor of 256-pixel images, loaded without unpickling code.

The weights come from torch-fidelity's download in torch's cache, or from a file of the user for nodes without internet.
torch-fidelity would unpickle any object in that file. Here only tensors are read and then passed to torch-fidelity. The
digest is of the tensors, so that it does not depend on the file format.
"""

import os
import sys
from hashlib import sha256
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from bench.quality.extractor import Extractor
from bench.spec.extractors import INCEPTION, FeatureExtractor
from bench.store.tensors import as_state_dict
from bench.system.errors import BadInputError

LAYER = "2048"  # the last pooling layer, the features of FID and KID


def load_inception(
    extractor: FeatureExtractor, device: torch.device, weights: Path | None, _images: Tensor | None = None
) -> Extractor:
    """Inception on a device, with weights from a file.

    Args:
        extractor: its registration.
        device: where features are computed.
        weights: a state dict saved by torch, or a .safetensors file; None for torch-fidelity's download.

    Raises:
        BadInputError: the file is missing or has other content, or the download fails.
    """
    path = _downloaded() if weights is None else weights
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"--inception-weights {path}: cannot be read ({error.strerror or error})") from error
    if (state := as_state_dict(path, content)) is None:
        raise BadInputError(f"{_not_weights(path)} (not a state dict of tensors)")
    ours = BytesIO()
    torch.save(state, ours)
    ours.seek(0)
    try:
        network = FeatureExtractorInceptionV3(INCEPTION, [LAYER], feature_extractor_weights_path=ours)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise BadInputError(f"{_not_weights(path)} ({reason}...)") from error
    network.register_forward_pre_hook(lambda _, inputs: (inputs[0].expand(-1, 3, -1, -1),))  # grey images too
    return Extractor(network, extractor.name, state_digest(state), int(LAYER), device)


def state_digest(state: dict[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 over names, dtypes, shapes and bytes of the tensors, sorted by name."""
    hasher = sha256()
    for name, tensor in sorted(state.items()):
        hasher.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        hasher.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()[:16]


def _not_weights(path: Path) -> str:
    name = URL_INCEPTION_V3.rpartition("/")[2]
    return f"--inception-weights {path}: not the weights of torch-fidelity's Inception, {name}"


def _downloaded() -> Path:
    """torch-fidelity's weights in torch's cache, downloaded if missing. BadInputError if the download fails."""
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
            f"{name} cannot be downloaded ({reason}): give the weights of Inception by --inception-weights FILE"
        ) from error
    return path
