"""Keyed randomness: random numbers depend on (seed, purpose, index) and on nothing else.

So a resumed run repeats an uninterrupted one, and a sample does not depend on its batch.
"""

from hashlib import blake2b

import torch


def key(seed: int, purpose: str, *index: int) -> int:
    """Hash (seed, purpose, index) to a 63-bit seed."""
    text = "/".join([str(seed), purpose, *map(str, index)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A CPU generator for (seed, purpose, index). Numbers drawn on the CPU are the same for every device."""
    return torch.Generator().manual_seed(key(seed, purpose, *index))
