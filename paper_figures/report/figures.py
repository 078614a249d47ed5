"""Figures of the page: pictures inside it, with their captions as text."""

import io
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.system.files import read_bytes

LARGEST = 600_000  # bytes of a picture that is taken as it is; larger ones, of photographs, are compressed
WIDEST_PX = 1600
DPI, CSS_DPI = 200, 125  # of the files (`style`), and of a browser's pixels here: text of 8 pt has 14 pixels
WIDE_PX = 500  # a wider figure does not shrink with a phone's screen, it is moved


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: of its files.
        source: the picture as a data URI.
        alternative: what it shows, for who cannot see it.
        caption: the sentences that are drawn below it.
        width, height: in a browser's pixels.
    """

    name: str
    source: str
    alternative: str
    caption: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether a phone's screen is too narrow for it."""
        return self.width > WIDE_PX


def picture(path: Path, title: str, about: str, protocol: str) -> Picture:
    """The figure in a PNG file; `protocol` is its caption if the file has none."""
    content = read_bytes(path)
    with Image.open(io.BytesIO(content)) as image:
        caption = (str(image.info.get("Description", "")) or protocol).rstrip(".")
        width, height = (round(side * CSS_DPI / DPI) for side in image.size)
        kind = "png"
        if len(content) > LARGEST:
            kind, content = "jpeg", _compressed(image)
    source = f"data:image/{kind};base64,{b64encode(content).decode()}"
    return Picture(path.stem, source, f"{title}. {about}", caption and f"{caption}.", width, height)


def _compressed(image: Image.Image) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((WIDEST_PX, 4 * WIDEST_PX))
    written = io.BytesIO()
    small.save(written, "jpeg", quality=88, optimize=True)
    return written.getvalue()
