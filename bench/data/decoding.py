"""Image files -> pixels: a rule for each kind of file, and the centre crop of DiT and ADM.

| file | pixels |
|---|---|
| 8 bits: grey, RGB, palette; black and white | mode RGB as Pillow converts it, which is what ADM and DiT do |
| colours of 16 bits | their high bytes, as Pillow reads them |
| grey of 16 bits | the high bytes too: Pillow would clip at 255 and so give white |
| an alpha channel or a transparent colour, not opaque everywhere | composited on white: Pillow would show the colours \
that viewers hide |
| CMYK and YCCK JPEG | taken as inverted, as Adobe writes them, with or without Adobe's marker |
| several frames or pages | the first |
| EXIF rotation, ICC profiles, gamma | ignored, as ADM and DiT do |
| smaller than the crop | enlarged |
| truncated or damaged, empty, no image, 32-bit integers or floats (range unknown), a transparent colour of 16 bits \
(Pillow reads 8 of them), more pixels than Pillow's limit against decompression bombs before or after resizing | \
unreadable |

White is what viewers of web images show, and what img2dataset composites on. So an image has the pixels of ADM's and
DiT's preprocessing unless it is grey of 16 bits or lets its background through. Of ImageNet's files, that can be only
n02105855_2933.JPEG, which is a PNG file with an alpha channel; the others are JPEG files, 22 of them CMYK.
"""

import io
import warnings
from hashlib import sha256

import numpy as np
from PIL import Image, UnidentifiedImageError

from bench.data.images import UnreadableImageError

_MOST_PIXELS = 178_956_970  # of Pillow's limit, before which it only warns


def decode(encoded: bytes, size: int) -> np.ndarray:
    """Decode to RGB and centre-crop: uint8 (3, size, size). UnreadableImageError if no rule gives its pixels.

    Both sides are halved (box filter) while the shorter one is at least 2 * `size`. Then the shorter one is resized to
    `size` (bicubic), and the longer one is cropped to its middle.
    """
    return decode_and_hash(encoded, size)[0]


def decode_and_hash(encoded: bytes, size: int) -> tuple[np.ndarray, bytes]:
    """The pixels of `decode`, and the SHA-256 of the file and of the rule by which they differ from Pillow's, if any.

    So the digest of a dataset tells how it was decoded, and is that of its files if Pillow alone would do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF data, which is not used; sizes below the limit
            with Image.open(io.BytesIO(encoded)) as opened:
                image, rule = _to_rgb(opened, encoded)
        crop = np.asarray(_centre_crop(image, size))
    except (MemoryError, UnreadableImageError):
        raise
    except UnidentifiedImageError as error:  # its message is an address in memory
        raise UnreadableImageError("not an image, or of a format that Pillow cannot read") from error
    except OSError as error:  # Pillow's own errors
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # its decoders raise many kinds of errors on corrupt data
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    return np.ascontiguousarray(crop.transpose(2, 0, 1)), sha256(encoded + rule).digest()


def _to_rgb(image: Image.Image, encoded: bytes) -> tuple[Image.Image, bytes]:
    """An image in mode RGB, and the rule that made it other than Pillow's own conversion. The rules are hashed."""
    if image.mode in ("I", "F"):
        raise UnreadableImageError("pixels of 32 bits, whose range is not known")
    if image.mode.startswith("I;16"):
        if image.has_transparency_data:
            raise UnreadableImageError("a transparent colour of 16 bits")
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB"), b"16 bits: high byte"
    if not image.has_transparency_data:
        return image.convert("RGB"), b""
    rgba = _to_rgba(image, encoded)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return on_white, b"alpha: on white" if on_white.tobytes() != rgba.convert("RGB").tobytes() else b""


def _to_rgba(image: Image.Image, encoded: bytes) -> Image.Image:
    """An image in mode RGBA: transparent is its alpha channel, its palette's, or the colour that a PNG file names."""
    if image.mode not in ("1", "L", "RGB"):
        return image.convert("RGBA")
    depth = encoded[24] if image.format == "PNG" else 8  # bits; Pillow scales the pixels to 8, but not the colour
    if depth == 16:
        raise UnreadableImageError("a transparent colour of 16 bits")
    scaled = np.minimum(np.multiply(image.info["transparency"], 255) // (2**depth - 1), 255)
    rgb = image.convert("RGB")
    opaque = (np.asarray(rgb) != scaled).any(axis=2)
    rgb.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return rgb


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    if width * height > _MOST_PIXELS:
        raise UnreadableImageError(f"{image.width}x{image.height} pixels, too long and narrow to be enlarged")
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
