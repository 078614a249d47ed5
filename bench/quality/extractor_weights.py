"""Where shipped feature extractors lie, and their digests. No torch: a digest is part of every cell's identity."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from bench.system.errors import BadInputError

INCEPTION = "inception-v3-compat"  # not shipped: its weights are torch-fidelity's download, or a file of the user's


def weights_path(extractor: str) -> Path:
    """The safetensors file of a shipped extractor."""
    return Path(__file__).parent / "weights" / f"{extractor}.safetensors"


def weights_digest(weights: bytes) -> str:
    """What weights are known by: the first 16 hex digits of their file's SHA-256."""
    return sha256(weights).hexdigest()[:16]


@cache
def extractor_digest(extractor: str) -> str:
    """Digest of a shipped extractor's weights; BadInputError if they are not there."""
    path = weights_path(extractor)
    if not path.exists():
        raise BadInputError(f"no weights for extractor {extractor!r} at {path}: restore the file")
    return weights_digest(path.read_bytes())
