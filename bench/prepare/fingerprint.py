"""Cheap dataset fingerprint: labels and 16 images."""

from contextlib import suppress
from hashlib import sha256

import numpy as np

from bench.data.decoding import decode_and_hash
from bench.data.images import ImageSource, UnreadableImageError, read_image
from bench.system.errors import BadInputError

_IMAGES = 16


def sample(source: ImageSource) -> dict[str, str]:
    """SHA-256, in hex, of evenly spaced images, by index. Unreadable images are absent: they may be repaired later."""
    count, hashes = min(_IMAGES, len(source)), {}
    for index in (i * len(source) // count for i in range(count)):
        with suppress(UnreadableImageError):
            hashes[str(index)] = decode_and_hash(read_image(source, index), 1)[1].hex()
    return hashes


def fingerprint(source: ImageSource) -> str:
    """SHA-256, in hex, over labels and the images of `sample`."""
    hasher = sha256(source.labels.astype("<i8").tobytes())
    for index, found in sample(source).items():
        hasher.update(f"{index} {found}".encode())
    return hasher.hexdigest()


def check_ends(source: ImageSource, indices: np.ndarray, hashes: np.ndarray, made: str) -> None:
    """BadInputError if the first or last image of a part that was read earlier, or its decoding, has changed since.

    Args:
        source: the dataset as it is now.
        indices: (count,), indices of the images that were read.
        hashes: (count, 32) uint8, SHA-256 of each image file as it was read.
        made: the file that was made from them, for the message.
    """
    for row in {0, len(indices) - 1} if len(indices) else ():
        try:
            encoded = read_image(source, int(indices[row]))
        except UnreadableImageError:  # it could be read when the part was made
            continue
        found = b""
        with suppress(UnreadableImageError):
            found = decode_and_hash(encoded, 1)[1]
        if found != hashes[row].tobytes():
            raise BadInputError(
                f"{made} was made from another image {source.name(int(indices[row]))}: give the same dataset by "
                "--data, or choose another --prepared"
            )
