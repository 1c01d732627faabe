"""The steps from a picture to what the model sees, side by side in one picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from digits.apps.ink.finding import Found

#: Sides of a step's picture, and the height of its caption, in pixels.
TILE, CAPTION, MARGIN = 160, 20, 8


class Step(NamedTuple):
    """The picture after a step."""

    caption: str
    picture: Image.Image


def steps_of(picture: Image.Image, found: Found, images: NDArray[np.uint8]) -> list[Step]:
    """The steps by which digits were found.

    Args:
        picture: it.
        found: the digits in it.
        images: uint8 [n, height, width], the digits in the form of the data set.
    """

    def grey(levels: NDArray[np.generic]) -> Image.Image:
        return Image.fromarray(levels.astype(np.uint8))

    return [
        Step("picture", picture),
        Step("paper", grey(found.page * 255)),
        Step("against the paper", grey(found.contrast)),
        Step("ink without lines", grey(found.ink * 255)),
        Step("digits", grey(np.max(found.strengths, axis=0) * 255)),
        Step("as the model sees it", grey(np.hstack(list(images)))),
    ]


def draw_steps(steps: Sequence[Step]) -> Image.Image:
    """All steps from left to right, each with its caption."""
    font = ImageFont.load_default(size=13)
    sheet = Image.new("RGB", (len(steps) * (TILE + MARGIN) + MARGIN, TILE + CAPTION + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for index, step in enumerate(steps):
        left = MARGIN + index * (TILE + MARGIN)
        small = max(step.picture.size) < TILE
        method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        shown = ImageOps.contain(_visible(step.picture), (TILE, TILE), method)
        sheet.paste(shown, (left, MARGIN))
        draw.rectangle((left - 1, MARGIN - 1, left + shown.width, MARGIN + shown.height), outline="grey")
        draw.text((left, MARGIN + TILE + 2), step.caption, fill="black", font=font)
    return sheet


def _visible(picture: Image.Image) -> Image.Image:
    """In RGB; what is transparent lies on a middle grey."""
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, (128, 128, 128, 255))
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert("RGB")
