"""Find digits in a picture. The result of each step is kept, so that it can be shown."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from digits.apps.ink.background import LEAST_CONTRAST, contrast, ink_strength
from digits.apps.ink.components import EIGHT, Floats, Mask, bounds, digits
from digits.apps.ink.lines import without_lines

#: Pixels of the longer side of a resized picture: at most the first number, for speed and less noise; at least the
#: second number, so that strokes are wide enough.
WORKING_SIDE, SMALL_SIDE = 320, 112
#: Ink that fills at least the fraction SOLID of a rectangular outline is a sheet. Ink that is LONG times longer than
#: wide is not a sheet, since it may be a 1.
SOLID, LONG = 0.7, 2.0
#: If less than this fraction of the ink remains after lines are taken away, the lines are kept.
LEFT = 0.02
#: Ink has an edge: at its steepest slope, the contrast would change over the ink's width by at least this many times
#: the highest contrast.
EDGE = 1.5
#: Digits on a sheet must have at least this fraction of the height of the highest digits on any sheet. This leaves out
#: print in a title bar, which is smaller than a drawn digit.
WORTHY = 0.3
#: The most levels by which paper changes from one pixel to the next. Light and shadow change less than an edge.
STEEPEST = 6.0
#: The least size of a page, as a fraction of the picture's pixels.
SMALLEST = 0.04
#: A page fills at least this fraction of the tightest rectangle around it. An ellipse, as inside a 0, fills only 0.785.
RECTANGULAR = 0.85
#: In a picture narrower than this many pixels, sheets are not searched.
NARROW = 16


class Found(NamedTuple):
    """The digits on one page of a picture. All fields but `page` are cut to the box around the page."""

    page: Mask  # [h, w], the page in the whole picture
    contrast: Floats  # in 0 .. 255
    ink: Mask  # without lines
    parts: list[Mask]  # one for each digit, from left to right
    strengths: list[Floats]  # the ink of each digit, in [0, 1]
    free: bool  # whether no digit touches the edge of the page

    @property
    def height(self) -> int:
        """Return the height of the box around all digits."""
        return int(np.ptp(np.flatnonzero(np.any(self.parts, axis=(0, 2)))) + 1)

    def lies_on(self, other: "Found") -> bool:
        """Return whether this page is a part of the other page."""
        return self.page.sum() < other.page.sum() and not (self.page & ~other.page).any()

    def encloses(self, other: "Found") -> bool:
        """Return whether the ink on this page surrounds the other page, as the lines of a table surround a cell."""
        within = ndimage.binary_fill_holes(np.any(self.parts, axis=0))
        return bool((other.page[bounds(self.page)] & within).sum() == other.page.sum())


def find_digits(picture: Image.Image) -> Found | None:
    """Find a digit, or digits in a row, in a picture of any size and mode. Return None if there is no ink.

    Each sheet in the picture is searched. If several sheets have digits, a sheet that lies on another is preferred: the
    paper and not the desk. Among the others, as in the cells of a table, the sheet with the highest digits is taken.
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
    """Convert to RGB, or to RGBA if there is transparency. Resize according to WORKING_SIDE and SMALL_SIDE."""
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE))
    times = -(-SMALL_SIDE // max(picture.size))
    if times == 1:
        return picture
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)


def _colours(picture: Image.Image) -> tuple[Floats | None, Floats]:
    """Return the colours [h, w, 3] and the opacity [h, w]. The colours are None if only the opacity shows the digit.

    Otherwise the visible part is paper with a digit on it, and transparent pixels are filled with the colour of paper.
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
    """Find the digits on a page [h, w]. `cut` is the page cut to its box, and `levels` the contrast in this box."""
    strength = ink_strength(levels, cut)
    ink = strength > 0.25
    without = without_lines(ink)
    ink = without if without.sum() > LEFT * ink.sum() else ink  # otherwise the line was a 1, cut close
    parts = digits(ink, cut)
    if not parts or any(_is_blot(part, levels) for part in parts):
        return None
    around = [ndimage.binary_dilation(part, EIGHT, iterations=2) for part in parts]
    inside = ndimage.binary_erosion(cut, EIGHT, iterations=2)
    free = not (np.any(parts, axis=0) & ~inside).any()
    return Found(page, levels, ink, parts, [np.where(near, strength, 0) for near in around], free)


def _is_blot(part: Mask, levels: Floats) -> bool:
    """Return whether a part is no stroke: it is an almost empty sheet, or has no edge, as uneven light."""
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
    """Yield masks: of the whole picture, then of each sheet in it with everything that is drawn on the sheet."""
    yield np.ones(pixels.shape[:2], bool)
    if min(pixels.shape[:2]) < NARROW:
        return
    smooth = ndimage.gaussian_filter(pixels, (1, 1, 0))
    slopes = np.max([np.hypot(*np.gradient(smooth[..., colour])) for colour in range(3)], axis=0)
    labels, _ = ndimage.label(slopes < max(STEEPEST, 4 * float(np.median(slopes))))
    for label in 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= SMALLEST * labels.size):
        page = ndimage.binary_fill_holes(labels == label)
        inner = ndimage.binary_erosion(page, EIGHT)  # empty if the sheet is only two pixels wide
        cut_off = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]]).mean() > 0.05  # at the picture's edge
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
