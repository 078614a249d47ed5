"""Where shipped feature extractors lie, and their digests. No torch: a digest is part of every cell's identity."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from bench.errors import BadInputError


def weights_path(extractor: str) -> Path:
    """The safetensors file of a shipped extractor."""
    return Path(__file__).parent / "weights" / f"{extractor}.safetensors"


@cache
def extractor_digest(extractor: str) -> str:
    """First 16 hex digits of the SHA-256 of the weights; BadInputError if they are not there."""
    path = weights_path(extractor)
    if not path.exists():
        raise BadInputError(f"no weights for extractor {extractor!r} at {path}: restore the file")
    return sha256(path.read_bytes()).hexdigest()[:16]
