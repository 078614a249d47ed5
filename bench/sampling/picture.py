"""Images with their labels in one picture."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

LEAST_PX = 64  # side of a shown image; smaller ones are enlarged, pixel by pixel
_GAP, _TEXT = 8, 18


def labelled(images: Sequence[Image.Image], labels: Sequence[int]) -> Image.Image:
    """A picture of images of one size, up to 8 in a row, the label below each."""
    width, height = images[0].size
    factor = max(1, math.ceil(LEAST_PX / min(width, height)))
    width, height = width * factor, height * factor
    columns = min(8, len(images))
    rows = math.ceil(len(images) / columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _TEXT + _GAP) + _GAP)
    picture = Image.new(images[0].mode, size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT - 4)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + _TEXT + _GAP)
        picture.paste(image.resize((width, height), Image.Resampling.NEAREST), (left, top))
        draw.text((left + width / 2, top + height + 1), str(label), fill="black", anchor="ma", font=font)
    return picture
