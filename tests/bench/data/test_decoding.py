"""What pixels each kind of image file becomes."""

import io
import struct
import zlib
from hashlib import sha256

import numpy as np
import pytest
import torch
from made_images import encoded, picture
from PIL import Image
from torch.nn.functional import interpolate

from bench.data.decoding import decode, decode_and_hash
from bench.data.images import UnreadableImageError


def saved(image, form="png", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(pixels):
    return saved(Image.fromarray(pixels))


def raw_png(rows, depth, color, *chunks, size=None, interlaced=False):
    """A PNG file of rows of packed pixels: Pillow writes neither colours of 16 bits nor grey of 2."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    width, height = size or (8 * len(rows[0]) // bits, len(rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    lines = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", lines), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def colours(encoded, size=1):
    """Each colour of the decoded crop."""
    return {tuple(pixel) for pixel in decode(encoded, size).reshape(3, -1).T.tolist()}


def gradient(width, height):
    """Red is the column, green the row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return png(np.stack((columns, rows, np.zeros_like(rows)), axis=2))


@pytest.mark.parametrize(
    ("width", "height", "size", "tolerance"),
    [
        (120, 80, 80, 0.0),  # landscape, the shorter side fits
        (80, 131, 80, 0.0),  # portrait, an odd number of rows to be cut off
        (64, 64, 64, 0.0),  # fits
        (240, 160, 80, 0.5),  # twice as large: halved once
        (160, 240, 80, 0.5),
        (256, 192, 48, 1.0),  # four times: halved twice
        (100, 75, 60, 1.0),  # shrunk, not halved
        (20, 30, 40, 1.0),  # enlarged
    ],
)
def test_the_crop_is_the_middle_of_the_picture(width, height, size, tolerance):
    crop = decode(gradient(width, height), size)
    assert crop.shape == (3, size, size)
    assert crop.dtype == np.uint8
    scale = min(width, height) / size  # pixels of the picture a pixel of the crop
    left, top = (round(width / scale) - size) // 2, (round(height / scale) - size) // 2
    inner = np.arange(2, size - 2)  # bicubic interpolation of a ramp is exact away from its ends
    columns, rows = ((offset + inner + 0.5) * scale - 0.5 for offset in (left, top))
    assert np.abs(crop[0][:, inner] - columns).max() <= tolerance
    assert np.abs(crop[1][inner] - rows[:, None]).max() <= tolerance


def test_the_crop_is_a_box_filter_and_then_a_bicubic_one():
    """Against means of 2x2 pixels in numpy and torch's own bicubic interpolation."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 224, 3), dtype=np.uint8)
    halved = pixels.reshape(150, 2, 112, 2, 3).mean(axis=(1, 3)).round()
    resized = interpolate(
        torch.from_numpy(halved).permute(2, 0, 1)[None], (round(150 * 64 / 112), 64), mode="bicubic", antialias=True
    )
    expected = resized[0, :, 11 : 11 + 64].clamp(0, 255)
    assert (
        np.abs(decode(png(pixels), 64) - expected.numpy()).max() <= 2
    )  # Pillow rounds between width and height, and ties otherwise
    box_only = halved[43 : 43 + 64, 24 : 24 + 64].transpose(2, 0, 1)
    assert np.abs(decode(png(pixels), 64) - box_only).max() > 50


RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
RED, WHITE = (255, 0, 0), (255, 255, 255)
SOLID = Image.new("RGB", (16, 16), RED)


@pytest.mark.parametrize("order", ["little", "big"])
def test_grey_of_16_bits_is_scaled_to_8(order):
    """Pillow's own conversion is white but for one pixel in 256: mean 254.5."""
    form = "png" if order == "little" else "tiff"
    file = saved(Image.fromarray(RAMP if order == "little" else RAMP.astype(">u2")), form)
    assert Image.open(io.BytesIO(file)).mode == ("I;16" if order == "little" else "I;16B")
    found = decode(file, 256)
    assert np.array_equal(found, np.broadcast_to(RAMP >> 8, (3, 256, 256)))
    assert found.mean() == 127.5


def test_grey_and_colours_of_16_bits_agree():
    """Of grey as colours, and with an opaque alpha channel, Pillow reads the high bytes."""
    grey, rgb, opaque = RAMP[..., None], RAMP[..., None].repeat(3, 2), np.full((256, 256, 1), 65535)
    kinds = {0: grey, 2: rgb, 4: np.concatenate([grey, opaque], 2), 6: np.concatenate([rgb, opaque], 2)}
    found = [decode(raw_png([row.astype(">u2").tobytes() for row in p], 16, c), 256) for c, p in kinds.items()]
    assert all(np.array_equal(one, found[0]) for one in found[1:])


def test_what_has_an_unknown_range_or_an_inexact_transparent_colour_is_unreadable():
    for mode in ("I", "F"):
        with pytest.raises(UnreadableImageError, match="32 bits"):
            decode(saved(Image.new(mode, (16, 16)), "tiff"), 8)
    for color, key in ((0, (1,)), (2, (1, 2, 3))):
        file = raw_png([bytes(6)], 16, color, (b"tRNS", struct.pack(f">{len(key)}H", *key)))
        with pytest.raises(UnreadableImageError, match="a transparent colour of 16 bits"):
            decode(file, 1)


PALETTE = (b"PLTE", bytes([*RED, 0, 255, 0, 0, 0, 255]))


TRANSPARENT = {
    "rgba": (saved(Image.new("RGBA", (4, 4), (*RED, 0))), WHITE),
    "half": (saved(Image.new("RGBA", (4, 4), (*RED, 128))), (255, 127, 127)),
    "webp": (saved(Image.new("RGBA", (4, 4), (*RED, 0)), "webp", lossless=True, exact=True), WHITE),
    "tiff": (saved(Image.new("RGBA", (4, 4), (*RED, 128)), "tiff"), (255, 127, 127)),
    "16 bits": (raw_png([struct.pack(">4H", 0, 0, 0, 0x8000)], 16, 6), (127, 127, 127)),
    "grey": (saved(Image.new("LA", (4, 4), (0, 51))), (204, 204, 204)),
    "PA": (saved(Image.new("PA", (4, 4), (0, 51)), "tiff"), (204, 204, 204)),
    "index": (raw_png([bytes([0])], 8, 3, PALETTE, (b"tRNS", bytes([0]))), WHITE),
    "bytes": (raw_png([bytes([1])], 8, 3, PALETTE, (b"tRNS", bytes([0, 51]))), (204, 255, 204)),
    "opaque index": (raw_png([bytes([2])], 8, 3, PALETTE, (b"tRNS", bytes([0, 51]))), (0, 0, 255)),
    "gif": (saved(Image.new("P", (4, 4), 0), "gif", transparency=0), WHITE),
    "colour": (saved(SOLID, transparency=RED), WHITE),
    "another colour": (saved(SOLID, transparency=(254, 0, 0)), RED),
    "grey level": (saved(Image.new("L", (4, 4), 7), transparency=7), WHITE),
    "another level": (saved(Image.new("L", (4, 4), 7), transparency=8), (7, 7, 7)),
    "2 bits": (raw_png([bytes([0b01010101])], 2, 0, (b"tRNS", b"\0\1")), WHITE),  # 85 of 255
    "2 bits, another level": (raw_png([bytes([0b01010101])], 2, 0, (b"tRNS", b"\0\2")), (85, 85, 85)),
    "4 bits": (raw_png([bytes([0x33])], 4, 0, (b"tRNS", b"\0\3")), WHITE),
    "1 bit, black": (raw_png([bytes([0])], 1, 0, (b"tRNS", b"\0\0")), WHITE),
    "1 bit, white": (raw_png([bytes([0])], 1, 0, (b"tRNS", b"\0\1")), (0, 0, 0)),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_shows_white_not_what_it_hides(kind):
    file, expected = TRANSPARENT[kind]
    assert colours(file) == {expected}


def test_only_the_transparent_part_is_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (10, 20, 30, 255)
    found = decode(png(pixels), 8)
    assert np.array_equal(found[:, :, :4], np.broadcast_to(np.array([10, 20, 30])[:, None, None], (3, 8, 4)))
    assert (found[:, :, 4:] == 255).all()


GAMMA = (b"gAMA", struct.pack(">I", 100_000))
PICTURE = picture(1)
OPAQUE = {
    "rgb": saved(PICTURE),
    "grey": saved(PICTURE.convert("L")),
    "palette": saved(PICTURE.convert("P")),
    "black and white": saved(PICTURE.convert("1")),
    "opaque alpha": saved(PICTURE.convert("RGBA")),
    "grey with opaque alpha": saved(PICTURE.convert("LA")),
    "jpeg": saved(PICTURE, "jpeg"),
    "grey jpeg": saved(PICTURE.convert("L"), "jpeg"),
    "cmyk": saved(PICTURE.convert("CMYK"), "jpeg"),
    "webp": saved(PICTURE, "webp"),
    "gif": saved(PICTURE, "gif"),
    "tiff in YCbCr": saved(PICTURE.convert("YCbCr"), "tiff"),
    "an unused transparent colour": saved(Image.new("RGB", (40, 40), RED), transparency=(0, 0, 1)),
    "icc profile": saved(PICTURE, icc_profile=bytes(200)),
    "gamma": raw_png(np.arange(1600, dtype=np.uint16).astype(np.uint8).reshape(40, 40), 8, 0, GAMMA),
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_other_kinds_have_the_pixels_of_the_published_preprocessing_and_the_hash_of_the_file(kind):
    """The identity of datasets that were prepared before there were rules depends on it."""
    file = OPAQUE[kind]
    with Image.open(io.BytesIO(file)) as opened:
        plain = opened.convert("RGB")
    pixels, found = decode_and_hash(file, 40)
    assert np.array_equal(pixels, decode(saved(plain), 40))
    assert found == sha256(file).digest()


def test_the_hash_tells_the_rule_where_it_changed_pixels():
    for file in (saved(Image.fromarray(RAMP)), saved(Image.new("RGBA", (4, 4), (*RED, 254)))):
        assert decode_and_hash(file, 4)[1] not in (sha256(file).digest(), decode_and_hash(file + b" ", 4)[1])
        assert decode_and_hash(file, 4)[1] == decode_and_hash(file, 2)[1]
    for pixels in ((*RED, 255), (*WHITE, 0)):  # the background does not show, or is what was hidden
        file = saved(Image.new("RGBA", (4, 4), pixels))
        assert decode_and_hash(file, 4)[1] == sha256(file).digest()


def without_adobe_marker(file):
    start = file.index(b"\xff\xee")
    return file[:start] + file[start + 2 + int.from_bytes(file[start + 2 : start + 4], "big") :]


def as_ycck(file):
    """The same numbers, said to be luma, chroma and black."""
    end = file.index(b"\xff\xee") + 2 + 14
    return file[: end - 1] + b"\2" + file[end:]


def test_cmyk_is_inverted_as_adobe_writes_it():
    """With its marker and without, as luma and chroma or not."""
    red = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg", quality=100)
    assert colours(red, 16) == colours(without_adobe_marker(red), 16) == {RED}
    dark = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 155)), "jpeg", quality=100)
    assert colours(dark, 16) == {(100, 0, 0)}
    y, cb, cr = 179, 171, 1  # of the inks of red: no cyan, all magenta and yellow
    inverted = Image.new("CMYK", (16, 16), (255 - y, 255 - cb, 255 - cr, 0))
    (found,) = colours(as_ycck(saved(inverted, "jpeg", quality=100)), 16)
    assert found == pytest.approx(RED, abs=2)


def test_of_several_frames_the_first_is_taken():
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, (0, 255, 0), (0, 0, 255))]
    for form in ("png", "webp", "gif", "tiff", "mpo"):
        options = {"lossless": True} if form == "webp" else {}
        file = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
        with Image.open(io.BytesIO(file)) as opened:
            assert opened.n_frames == 3, form
        (found,) = colours(file, 16)
        assert found == pytest.approx(RED, abs=2), form


def test_exif_data_is_ignored_and_may_be_damaged():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a quarter turn"
    whole, damaged = (saved(picture(4), "jpeg", exif=content) for content in (exif.tobytes(), exif.tobytes()[:-12]))
    with pytest.warns(UserWarning, match="Truncated File Read"):
        Image.open(io.BytesIO(damaged)).close()
    upright = decode(saved(picture(4), "jpeg"), 32)
    assert np.array_equal(decode(whole, 32), upright)
    assert np.array_equal(decode(damaged, 32), upright)


def test_interlaced_files():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [row for y, x, down, right in passes for row in pixels[y::down, x::right].copy()]
    assert np.array_equal(decode(raw_png(rows, 8, 0, size=(16, 16), interlaced=True), 16)[0], pixels)
    progressive = decode(saved(picture(1), "jpeg", progressive=True), 40)
    assert np.array_equal(progressive, decode(saved(picture(1), "jpeg"), 40))


def test_small_and_narrow_images_are_enlarged():
    assert colours(saved(Image.new("RGB", (1, 1), RED)), 64) == {RED}
    assert decode(saved(Image.new("L", (1, 500), 9)), 64).shape == (3, 64, 64)


def test_images_beyond_the_limits_are_unreadable():
    with pytest.raises(UnreadableImageError, match="decompression bomb"):
        decode(raw_png([bytes(3)], 8, 2, size=(60_000, 60_000)), 256)
    narrow = saved(Image.new("L", (1, 3000)))
    with pytest.raises(UnreadableImageError, match="1x3000 pixels, too long and narrow"):
        decode(narrow, 256)  # 196 million pixels
    assert decode(narrow, 8).shape == (3, 8, 8)


def test_a_large_image_below_the_limit_is_read_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # and an error from twice as many
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(saved(SOLID))).close()
    assert colours(saved(SOLID), 8) == {RED}


CORRUPT = {
    "no columns": raw_png([b"", b""], 8, 0),
    "empty": b"",
    "no picture": b"<html>not found</html>",
    "truncated jpeg": encoded(0)[:-200],
    "truncated png": encoded(0, "png")[:-200],
    "truncated webp": encoded(0, "webp")[:-20],
    "changed png": encoded(0, "png").replace(b"IDAT", b"IDAX"),
    "changed header": encoded(0, "png")[:20] + bytes(4) + encoded(0, "png")[24:],
}


@pytest.mark.parametrize("damage", CORRUPT)
def test_a_corrupt_image_is_unreadable(damage):
    with pytest.raises(UnreadableImageError):
        decode(CORRUPT[damage], 32)
