"""Sheets in a picture: paper on a desk, the field of a form, the canvas in a window, the plot between its axes."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Levels that a page may change from one pixel to the next: light and shadow do, an edge changes more.
STEEPEST = 6.0
#: Of the picture's pixels, the fewest that a page has.
SMALLEST = 0.04
#: The least part of its tightest rectangle that a page fills. An ellipse, the inside of a 0, fills 0.785.
RECTANGULAR = 0.85
#: A picture narrower than this has no sheets in it, in pixels.
NARROW = 16


def pages(pixels: Floats) -> Iterator[Mask]:
    """The whole picture, and each sheet in it, with all that is drawn on the sheet.

    Args:
        pixels: RGB [h, w, 3] in 0 .. 255.

    Yields:
        [h, w].
    """
    yield np.ones(pixels.shape[:2], bool)
    if min(pixels.shape[:2]) < NARROW:
        return
    smooth = ndimage.gaussian_filter(pixels, (1, 1, 0))
    slopes = np.max([np.hypot(*np.gradient(smooth[..., colour])) for colour in range(3)], axis=0)
    labels, count = ndimage.label(slopes < max(STEEPEST, 4 * float(np.median(slopes))))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    for label in 1 + np.flatnonzero(areas[1:] >= SMALLEST * labels.size):
        page = ndimage.binary_fill_holes(labels == label)
        inner = ndimage.binary_erosion(page, np.ones((3, 3), bool))  # nothing, of a strip of two pixels
        if inner.any() and page.mean() < 0.97 and (_at_the_edge(page) or rectangularity(page) >= RECTANGULAR):
            yield inner


def _at_the_edge(page: Mask) -> bool:
    """Whether the picture cuts it off: then it may have any form."""
    return bool(np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]]).mean() > 0.05)


def rectangularity(page: Mask) -> float:
    """The part of the tightest rectangle around it, at any angle, that it fills."""
    y, x = np.nonzero(page & ~ndimage.binary_erosion(page))
    area = math.inf
    for angle in np.deg2rad(np.arange(0, 90, 3)):
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        area = min(area, (np.ptp(along) + 1) * (np.ptp(across) + 1))
    return float(page.sum() / area)
