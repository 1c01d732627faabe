"""A picture of digits in rows, each with a caption."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 5
SCALE = 4  # screen pixels per pixel of a digit
MARGIN = 8
CAPTION = 20  # height of a caption, in screen pixels


def draw_digits(digits: NDArray[np.uint8], captions: Sequence[str]) -> Image.Image:
    """Draw digits in rows of five, as far apart as the longest caption needs.

    Args:
        digits: uint8 [n, 28, 28], 255 is ink.
        captions: n texts.

    Returns:
        A grey picture, dark on light.
    """
    rows = max(1, -(-len(digits) // COLUMNS))
    side = 28 * SCALE
    font = ImageFont.load_default(size=13)
    cell_width = max([side, *(math.ceil(font.getlength(caption)) for caption in captions)]) + MARGIN
    cell_height = side + CAPTION + MARGIN
    picture = Image.new("L", (COLUMNS * cell_width + MARGIN, rows * cell_height + MARGIN), 255)
    draw = ImageDraw.Draw(picture)
    for index, (digit, caption) in enumerate(zip(digits, captions, strict=True)):
        left = MARGIN + index % COLUMNS * cell_width
        top = MARGIN + index // COLUMNS * cell_height
        enlarged = Image.fromarray(255 - digit).resize((side, side), Image.Resampling.NEAREST)
        picture.paste(enlarged, (left, top))
        draw.text((left, top + side + 2), caption, fill=0, font=font)
    if not len(digits):
        draw.text((MARGIN, MARGIN), "none misclassified", fill=0, font=font)
    return picture


def save_png(picture: Image.Image, path: Path) -> None:
    """Save without time, version or any other text.

    Run-length encoding needs no search for earlier matches, whose results may differ by processor and zlib version.
    """
    picture.save(path, format="PNG", optimize=False, compress_level=9, compress_type=3)  # 3: zlib's Z_RLE
