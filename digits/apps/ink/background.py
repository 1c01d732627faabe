"""Measure the contrast of each pixel to the paper around it, for ink of any colour and in any light."""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from digits.apps.ink.components import Floats, Mask

#: Ink differs from the paper by at least this many of 255 levels.
LEAST_CONTRAST = 24
#: Ink also differs by at least this many times the median deviation of the paper, that is, by 4 standard deviations of
#: normal noise.
NOISE = 6

#: Window of a filter that is wider than the stroke of a thick pen, as a fraction of the mean side of a picture.
WIDEST_STROKE = 0.3
#: Windows of filters that measure the width of strokes, as fractions of the mean side.
STROKES = (0.01, 0.03, 0.08, 0.18, 0.35)
#: Ink is recognized if it is this many times rarer, or narrower, than paper. The first limits are used before the
#: corners are compared, the second limits after that.
RARER, NARROWER = (25.0, 5.0), (2.0, 1.5)
#: Window of the median from which rare levels differ, as a fraction of the mean side.
AROUND = 0.25
#: Size of a corner, as a fraction of the shorter side.
CORNER = 0.06
#: Reach of the average that estimates the paper near a pixel, as a fraction of the longer side.
REACH = 0.03

#: Pixels in the longer side of reduced copies, which are filtered with wide windows.
COARSEST, COARSE, FINE = 64, 125, 250


def contrast(pixels: Floats, page: Mask) -> Floats:
    """Return the contrast of each pixel, [h, w]: 0 on paper, about 255 times the fraction of light absorbed by ink.

    A shadow absorbs the same fraction of the light from ink and paper, so it does not change the result. `pixels` are
    RGB [h, w, 3] in 0 .. 255. Outside the page the result is 0.
    """
    levels, brightness = colour_axis(pixels, page)
    lighter = ink_is_lighter(levels, page)
    signed = levels if lighter else -levels

    def above(around: Floats) -> Floats:
        """Return the difference from the paper around, scaled as if all paper were as bright as at the page's edge."""
        here = brightness + around if lighter else brightness - around
        room, edge_room = (255 - here, 255 - brightness) if lighter else (here, brightness)
        difference = (signed - around) * (max(edge_room, 40) / np.maximum(room, 40))
        return np.where(page, np.clip(difference, 0, 255), 0).astype(np.float32)

    rough = above(_opened(signed, page))
    certain = rough > max(0.6 * otsu(rough[page]), 8)
    for reach in (2 + max(page.shape) // 150, 1):  # the smaller reach is for close lines with little paper in between
        paper = page & ~ndimage.binary_dilation(certain, iterations=reach)
        if paper.sum() > page.sum() / 10:
            around = _average(signed, paper)
            deviation = float(np.median(np.abs(signed - around)[paper]))
            found = above(around)
            return np.where(found > NOISE * deviation, found, 0)
    return rough


def colour_axis(pixels: Floats, page: Mask) -> tuple[Floats, float]:
    """Return the levels along the axis on which colours differ most from the paper, so that red on green is visible.

    The paper at the page's edge has the level 0. Return its brightness, too.
    """
    rim = page & ~ndimage.binary_erosion(page, iterations=max(2, min(page.shape) // 60))
    reference = np.median(pixels[rim], axis=0)
    difference = pixels[page] - reference
    far = difference[np.abs(difference).max(axis=1) > LEAST_CONTRAST / 2]
    direction = np.ones(3) if len(far) < 4 else np.linalg.eigh(far.T @ far)[1][:, -1]
    direction = direction * np.sign(direction.sum() or 1) / np.abs(direction).sum()
    return ((pixels - reference) @ direction).astype(np.float32), float(reference @ direction)


def ink_is_lighter(levels: Floats, page: Mask) -> bool:
    """Return whether the ink is lighter than the paper.

    Ink is rarer than the paper around it, and narrower. If neither is clear, as in a picture cut close to the digit,
    the paper is dark or light if all corners are. Otherwise weaker limits for rarer and narrower decide. If these do
    not decide, the paper has the level of the page's edge, 0.
    """
    rarer, narrower = _rarer(levels, page), _narrower(levels, page)
    for (dark, light), clearly in (
        (rarer, RARER[0]),
        (narrower, NARROWER[0]),
        (_not_in_corners(levels, page), 1),
        (rarer, RARER[1]),
        (narrower, NARROWER[1]),
    ):
        if max(dark, light) > clearly * min(dark, light):
            return light > dark
    return bool((levels[page].astype(np.float64) ** 3).sum() > 0)


def _rarer(levels: Floats, page: Mask) -> tuple[float, float]:
    """Return how much of the page is far darker, and how much is far lighter, than the median around it."""
    coarse = _coarse_page(levels, page, COARSEST)
    median = _enlarged(ndimage.median_filter(coarse, _window(AROUND, coarse), mode="nearest"), page.shape)
    difference = (levels - median)[page]
    least = 0.3 * float(np.abs(difference).max())
    return float((difference[difference < -least] ** 2).sum()), float((difference[difference > least] ** 2).sum())


def _not_in_corners(levels: Floats, page: Mask) -> tuple[float, float]:
    """Return whether no corner is dark, and whether no corner is light, each as 1 or 0."""
    side = max(1, round(CORNER * min(page.shape)))
    edges = (slice(None, side), slice(-side, None))
    corners = np.array([np.median(levels[rows, columns]) for rows in edges for columns in edges])
    light = corners > (levels.min() + levels.max()) / 2
    return (float(light.all()), float(not light.any())) if page.all() else (0.0, 0.0)


def _narrower(levels: Floats, page: Mask) -> tuple[float, float]:
    """Return a measure of how narrow the dark parts are, and how narrow the light parts are.

    A part that is narrower than a window counts with its area divided by the square of the window's width. So a line
    counts much, and a gap between lines counts little.
    """
    coarse = _coarse_page(levels, page, FINE)
    sizes = np.array([_window(fraction, coarse) for fraction in STROKES])
    dark = [ndimage.grey_closing(coarse, (size, size), mode="nearest") - coarse for size in sizes]
    light = [coarse - ndimage.grey_opening(coarse, (size, size), mode="nearest") for size in sizes]
    least = 0.3 * max(dark[-1].max(), light[-1].max())

    def narrowness(parts: list[Floats]) -> float:
        energy = [float((part[part > least] ** 2).sum()) for part in parts]
        return float((np.diff(energy, prepend=0) / sizes**2).sum())

    return narrowness(dark), narrowness(light)


def otsu(levels: Floats) -> int:
    """Return the threshold in 0 .. 255 that splits levels into two classes with the greatest variance between them.

    N. Otsu, A threshold selection method from gray-level histograms (IEEE Trans. Systems, Man, Cybernetics 9, 1979).
    """
    share = np.bincount(levels.astype(np.uint8).ravel(), minlength=256) / levels.size
    below, mean_below = share.cumsum(), (share * np.arange(256)).cumsum()
    product = below * (1 - below)
    squares = (mean_below[-1] * below - mean_below) ** 2
    return int(np.divide(squares, product, out=np.zeros(256), where=product > 1e-12).argmax())


def ink_strength(levels: Floats, page: Mask) -> Floats:
    """Return the strength of the ink at each pixel, from 0 to 1.

    Otsu's threshold splits the contrasts into paper and ink. The mean contrast of the ink gives the strength 1. A
    contrast below half of the threshold is blur or a trace of JPEG, and gives 0. If the mean contrast of the ink is
    below LEAST_CONTRAST, all strengths are 0.
    """
    threshold = otsu(levels[page])
    above = levels[page & (levels > threshold)]
    full = float(above.mean()) if len(above) else 0.0
    if full < LEAST_CONTRAST:
        return np.zeros_like(levels)
    return np.where(page & (levels > threshold / 2), np.minimum(levels / full, 1), 0)


def _opened(signed: Floats, page: Mask) -> Floats:
    """Return an estimate of the paper: parts that are lighter and narrower than a thick stroke are taken away."""
    coarse = _coarse_page(signed, page, COARSE)
    size = _window(WIDEST_STROKE, coarse)
    opened = ndimage.grey_opening(coarse, (size, size), mode="nearest")
    return _enlarged(ndimage.gaussian_filter(opened, size / 6), page.shape)


def _average(signed: Floats, paper: Mask) -> Floats:
    """Return the mean of the paper near each pixel. If there is only ink near the pixel, use paper farther away."""
    reach = REACH * max(paper.shape)
    step = max(1, int(reach / 4))
    total, mass = (
        ndimage.gaussian_filter(part, reach / step, mode="nearest")
        + 0.05 * ndimage.gaussian_filter(part, 4 * reach / step, mode="nearest")
        for part in (_coarse(np.where(paper, part, 0).astype(np.float32), step) for part in (signed, 1))
    )
    return _enlarged((total + 1e-3 * float(signed[paper].mean())) / (mass + 1e-3), paper.shape)


def _window(fraction: float, levels: Floats) -> int:
    """Return the width of a filter, an odd number of pixels, from a fraction of the mean side."""
    return max(3, int(fraction * math.sqrt(levels.size)) | 1)


def _coarse_page(levels: Floats, page: Mask, side: int) -> Floats:
    """Reduce levels to about `side` pixels in the longer side. Outside the page, repeat the page's nearest level."""
    if not page.all():
        rows, columns = ndimage.distance_transform_edt(~page, return_distances=False, return_indices=True)
        levels = levels[rows, columns]
    return _coarse(levels, max(1, round(max(page.shape) / side)))


def _coarse(levels: Floats, step: int) -> Floats:
    return levels if step == 1 else ndimage.uniform_filter(levels, step)[step // 2 :: step, step // 2 :: step]


def _enlarged(levels: Floats, shape: tuple[int, ...]) -> Floats:
    if levels.shape == shape:
        return levels
    picture = Image.fromarray(levels.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
