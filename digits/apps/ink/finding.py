"""From a picture to the digits in it, by steps that can each be seen."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from digits.apps.ink.background import EIGHT, LEAST_CONTRAST, contrast, strength
from digits.apps.ink.lines import without_lines
from digits.apps.ink.pages import RECTANGULAR, pages, rectangularity
from digits.apps.ink.parts import bounds, digits

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: A longer side is brought to this many pixels first, which is quick and averages noise away; a shorter one is enlarged
#: to at least so many, so that strokes are wider than a pixel.
WORKING_SIDE = 320
SMALL_SIDE = 112

#: Ink that fills so much of its outline, a rectangle, is a sheet, unless it is so many times as long as wide: a 1.
SOLID = 0.7
LONG = 2.0

#: Of the ink, the least part that is left without lines.
LEFT = 0.02

#: Ink has an edge: its contrast changes by all of itself in less than its width, by so many times.
EDGE = 1.5

#: Digits on a sheet count if they are at least so high against the highest that any sheet has: what is printed in a
#: title bar is smaller than what is drawn.
WORTHY = 0.3


class Found(NamedTuple):
    """The digits on one page of a picture. All but `page` is cut to the box around the page."""

    page: Mask  # [h, w], of the whole picture
    contrast: Floats  # in 0 .. 255
    ink: Mask  # without lines
    parts: list[Mask]  # one for each digit, from left to right
    strengths: list[Floats]  # of each digit alone, in [0, 1]
    free: bool  # whether the edge of the page cuts nothing off

    @property
    def height(self) -> int:
        """From the top of the highest digit to the bottom of the lowest one."""
        return int(np.ptp(np.flatnonzero(np.any(self.parts, axis=(0, 2)))) + 1)

    def lies_on(self, other: "Found") -> bool:
        """Whether this page is a part of the other."""
        return self.page.sum() < other.page.sum() and not (self.page & ~other.page).any()

    def encloses(self, other: "Found") -> bool:
        """Whether its ink stands around the other page, as the lines of a table do."""
        within = ndimage.binary_fill_holes(np.any(self.parts, axis=0))
        return bool((other.page[bounds(self.page)] & within).sum() == other.page.sum())


def find_digits(picture: Image.Image) -> Found | None:
    """Find the digits in a picture: a row of them, or one.

    The steps: reduce the picture, find sheets in it, measure on each how far pixels are from the paper around them,
    cut ink from paper, take lines away, and keep the parts that are digits. Of sheets on which digits lie free, one on
    another is taken before that: paper on a desk, and not the desk. Of sheets side by side, as the cells of a table,
    it is the one with the highest digits.

    Args:
        picture: of any size and of any mode that Pillow can convert to RGB.

    Returns:
        None: there is no ink.
    """
    pixels, opacity = _colours(reduced(picture))
    if pixels is None:
        everywhere = np.ones(opacity.shape, bool)
        return _on_page(everywhere, everywhere, opacity)
    every = [found for page in pages(pixels) if (found := _search(pixels, page))]
    every = [found for found in every if found.free] or [found for found in every if found.page.all()]
    every = [found for found in every if not any(found.encloses(other) for other in every if other is not found)]
    largest = max((found.height for found in every), default=0)
    worthy = [found for found in every if found.height >= WORTHY * largest]
    inner = [found for found in worthy if not any(other.lies_on(found) for other in worthy if other is not found)]
    return max(inner, key=lambda found: found.height, default=None)


def _search(pixels: Floats, page: Mask) -> Found | None:
    """Find the digits on a page."""
    box = bounds(page)
    cut = page[box]
    return None if min(cut.shape) < 9 else _on_page(page, cut, contrast(pixels[box], cut))


def _on_page(page: Mask, cut: Mask, levels: Floats) -> Found | None:
    inked = strength(levels, cut)
    ink = inked > 0.25
    without = without_lines(ink)
    ink = without if without.sum() > LEFT * ink.sum() else ink  # else it was a digit, cut close: a 1
    parts = digits(ink, cut)
    if not parts or any(_is_blot(part, levels) for part in parts):
        return None
    around = [ndimage.binary_dilation(part, EIGHT, iterations=2) for part in parts]
    inside = ndimage.binary_erosion(cut, EIGHT, iterations=2)
    free = not (np.any(parts, axis=0) & ~inside).any()
    return Found(page, levels, ink, parts, [np.where(near, inked, 0) for near in around], free)


def _is_blot(part: Mask, levels: Floats) -> bool:
    """Whether it is no stroke: a sheet, with little on it, or what has no edge, as the dark end of uneven light."""
    rows, columns = bounds(part)
    height, width = part[rows, columns].shape
    if max(height, width) < LONG * min(height, width) and part.sum() >= SOLID * height * width / 2:
        filled = ndimage.binary_fill_holes(part[rows, columns])
        if part.sum() >= SOLID * filled.sum() and rectangularity(filled) >= RECTANGULAR:
            return True
    box = levels[max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2]
    if min(box.shape) < 3:
        return False
    steepest = max(float(np.abs(slope).max()) for slope in np.gradient(box))
    return steepest * min(height, width) < EDGE * float(box.max())


def reduced(picture: Image.Image) -> Image.Image:
    """The picture in RGB, or in RGBA if anything is transparent, neither too large nor too small."""
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE))
    times = -(-SMALL_SIDE // max(picture.size))
    if times > 1:
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
    return picture


def _colours(picture: Image.Image) -> tuple[Floats | None, Floats]:
    """The colours [h, w, 3] and the opacity [h, w]. No colours: all are the same, and the opacity shows the digit.

    Else what can be seen is paper with a digit on it, and where it is cut off, the paper goes on.
    """
    pixels = np.asarray(picture, np.float32)
    if pixels.shape[2] == 3:
        return pixels, np.full(pixels.shape[:2], 255, np.float32)
    colours, opacity = pixels[..., :3], pixels[..., 3]
    visible = colours[opacity > 127]
    if len(visible) == opacity.size:
        return colours, opacity
    if len(visible) < opacity.size / 2 or np.ptp(visible, axis=0).max() < LEAST_CONTRAST:
        return None, opacity
    return np.where(opacity[..., None] > 127, colours, np.median(visible, axis=0)), opacity
