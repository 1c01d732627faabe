"""Find the digits in a picture, by steps that can each be shown."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from digits.apps.ink.background import LEAST_CONTRAST, contrast, ink_strength
from digits.apps.ink.components import EIGHT, Floats, Mask, bounds, digits
from digits.apps.ink.lines import without_lines

#: Pixels of the longer side: at most so many to be quick and to average noise, and at least so many to widen strokes.
WORKING_SIDE, SMALL_SIDE = 320, 112
#: Ink that fills this fraction of its rectangular outline is a sheet, unless it is LONG times longer than wide: a 1.
SOLID, LONG = 0.7, 2.0
#: Least fraction of the ink that remains without lines.
LEFT = 0.02
#: Ink has an edge: within its width, its contrast changes at least this many times by all of itself.
EDGE = 1.5
#: Least height of digits on a sheet, as a fraction of the height of those on any other: print in a title bar is smaller
#: than what is drawn.
WORTHY = 0.3
#: Levels that paper may change from one pixel to the next: light and shadow change less than an edge.
STEEPEST = 6.0
#: Least size of a page, as a fraction of the picture's pixels.
SMALLEST = 0.04
#: Least fraction of the tightest rectangle around a page that it fills. An ellipse, the inside of a 0, fills 0.785.
RECTANGULAR = 0.85
#: Look for no sheets in a picture narrower than this, in pixels.
NARROW = 16


class Found(NamedTuple):
    """The digits on one page of a picture. All but `page` is cut to the box around the page."""

    page: Mask  # [h, w], of the whole picture
    contrast: Floats  # in 0 .. 255
    ink: Mask  # without lines
    parts: list[Mask]  # one for each digit, from left to right
    strengths: list[Floats]  # the ink of each digit, in [0, 1]
    free: bool  # the edge of the page cuts nothing off

    @property
    def height(self) -> int:
        """Return the height from the top of the highest digit to the bottom of the lowest one."""
        return int(np.ptp(np.flatnonzero(np.any(self.parts, axis=(0, 2)))) + 1)

    def lies_on(self, other: "Found") -> bool:
        """Return whether this page is a part of the other."""
        return self.page.sum() < other.page.sum() and not (self.page & ~other.page).any()

    def encloses(self, other: "Found") -> bool:
        """Return whether the ink here stands around the other page, as the lines of a table do."""
        within = ndimage.binary_fill_holes(np.any(self.parts, axis=0))
        return bool((other.page[bounds(self.page)] & within).sum() == other.page.sum())


def find_digits(picture: Image.Image) -> Found | None:
    """Find a digit, or digits in a row, in a picture of any size and mode. Return None if there is no ink.

    Search each sheet in the picture. If digits lie free on several, take the paper and not the desk under it, then the
    sheet with the highest digits, as of the cells of a table.
    """
    pixels, opacity = _colours(_resized(picture))
    if pixels is None:
        everywhere = np.ones(opacity.shape, bool)
        return _on_page(everywhere, everywhere, opacity)
    every = []
    for page in pages(pixels):
        box = bounds(page)
        cut = page[box]
        if min(cut.shape) >= 9 and (found := _on_page(page, cut, contrast(pixels[box], cut))):
            every.append(found)
    every = [found for found in every if found.free] or [found for found in every if found.page.all()]
    every = [found for found in every if not any(found.encloses(other) for other in every if other is not found)]
    largest = max((found.height for found in every), default=0)
    worthy = [found for found in every if found.height >= WORTHY * largest]
    inner = [found for found in worthy if not any(other.lies_on(found) for other in worthy if other is not found)]
    return max(inner, key=lambda found: found.height, default=None)


def _resized(picture: Image.Image) -> Image.Image:
    """Convert to RGB, or to RGBA if anything is transparent, and to a size that is neither too large nor too small."""
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE))
    times = -(-SMALL_SIDE // max(picture.size))
    if times == 1:
        return picture
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)


def _colours(picture: Image.Image) -> tuple[Floats | None, Floats]:
    """Return the colours [h, w, 3] and the opacity [h, w], or no colours if the opacity alone shows the digit.

    Otherwise what is visible is paper with a digit on it, and the paper continues where it is cut off.
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


def _on_page(page: Mask, cut: Mask, levels: Floats) -> Found | None:
    """Find the digits on a page, whose mask is also given cut to its box, by the contrast there."""
    strength = ink_strength(levels, cut)
    ink = strength > 0.25
    without = without_lines(ink)
    ink = without if without.sum() > LEFT * ink.sum() else ink  # otherwise it was a digit, cut close: a 1
    parts = digits(ink, cut)
    if not parts or any(_is_blot(part, levels) for part in parts):
        return None
    around = [ndimage.binary_dilation(part, EIGHT, iterations=2) for part in parts]
    inside = ndimage.binary_erosion(cut, EIGHT, iterations=2)
    free = not (np.any(parts, axis=0) & ~inside).any()
    return Found(page, levels, ink, parts, [np.where(near, strength, 0) for near in around], free)


def _is_blot(part: Mask, levels: Floats) -> bool:
    """Return whether a part is not a stroke, but a sheet with little on it, or has no edge, as uneven light."""
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


def pages(pixels: Floats) -> Iterator[Mask]:
    """Yield the whole picture, then each sheet in it together with all that is drawn on it."""
    yield np.ones(pixels.shape[:2], bool)
    if min(pixels.shape[:2]) < NARROW:
        return
    smooth = ndimage.gaussian_filter(pixels, (1, 1, 0))
    slopes = np.max([np.hypot(*np.gradient(smooth[..., colour])) for colour in range(3)], axis=0)
    labels, _ = ndimage.label(slopes < max(STEEPEST, 4 * float(np.median(slopes))))
    for label in 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= SMALLEST * labels.size):
        page = ndimage.binary_fill_holes(labels == label)
        inner = ndimage.binary_erosion(page, EIGHT)  # empty if the sheet is a strip of two pixels
        cut_off = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]]).mean() > 0.05  # by the picture's edge
        if inner.any() and page.mean() < 0.97 and (cut_off or rectangularity(page) >= RECTANGULAR):
            yield inner


def rectangularity(page: Mask) -> float:
    """Return the fraction that a mask fills of the tightest rectangle around it, at any angle."""
    y, x = np.nonzero(page & ~ndimage.binary_erosion(page))
    area = math.inf
    for angle in np.deg2rad(np.arange(0, 90, 3)):
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        area = min(area, (np.ptp(along) + 1) * (np.ptp(across) + 1))
    return float(page.sum() / area)
