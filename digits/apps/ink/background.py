"""How much each pixel differs from the paper around it: ink, whatever the colours and however the light falls."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: A pixel is ink for certain if it differs from the paper by so many of 255 levels.
LEAST_CONTRAST = 24
#: And by so many times the median deviation of the paper: 4 standard deviations of normal noise.
NOISE = 6

#: Windows of the filters, as parts of the mean side of a picture: wider than a stroke of a thick pen.
WIDEST_STROKE = 0.3
STROKES = (0.01, 0.03, 0.08, 0.18, 0.35)
#: How many times as rare, and as narrow, ink is as paper by the measures of `ink_is_lighter`: so many times that no
#: corners need to be looked at, and so many times that it tells where they differ.
RARER, NARROWER = (25.0, 5.0), (2.0, 1.5)
#: Reach of the median by which ink is the rarer, as a part of the mean side.
AROUND = 0.25
#: A corner, as a part of the shorter side.
CORNER = 0.06
#: Reach of the average that gives the colour of the paper, as a fraction of the longer side.
REACH = 0.03

#: Pixels in the longer side of the copy that is filtered with wide windows.
COARSE = 125
COARSEST = 64

EIGHT = np.ones((3, 3), bool)


class Axis(NamedTuple):
    """The one colour axis along which ink and paper differ most."""

    levels: Floats  # [h, w], 0 is the paper at the page's edge
    paper: float  # brightness of the paper at the edge, in 0 .. 255


def contrast(pixels: Floats, page: Mask) -> Floats:
    """How much ink there is: 0 on paper, and about 255 times the share of the paper's light that the ink takes away.

    A shadow takes away the same share of both, and so leaves the figure as it is.

    Args:
        pixels: RGB [h, w, 3] in 0 .. 255.
        page: where the paper is, [h, w].

    Returns:
        [h, w] in 0 .. 255, and 0 outside the page.
    """
    axis = colour_axis(pixels, page)
    sign = 1 if ink_is_lighter(axis.levels, page) else -1
    signed = sign * axis.levels
    rough = _share(signed, _opened(signed, page), axis, sign, page)
    certain = rough > max(0.6 * otsu(rough[page]), 8)
    papers = (page & ~ndimage.binary_dilation(certain, iterations=reach) for reach in (2 + max(page.shape) // 150, 1))
    paper = next((one for one in papers if one.sum() > page.sum() / 10), None)  # between close lines there is little
    if paper is None:
        return rough
    around = _average(signed, paper)
    deviation = float(np.median(np.abs(signed - around)[paper]))
    found = _share(signed, around, axis, sign, page)
    return np.where(found > NOISE * deviation, found, 0)


def colour_axis(pixels: Floats, page: Mask) -> Axis:
    """Project the colours onto the axis of the greatest differences from the paper: red on green is seen as well."""
    rim = page & ~ndimage.binary_erosion(page, iterations=max(2, min(page.shape) // 60))
    reference = np.median(pixels[rim], axis=0)
    difference = pixels[page] - reference
    far = difference[np.abs(difference).max(axis=1) > LEAST_CONTRAST / 2]
    direction = np.ones(3) if len(far) < 4 else np.linalg.eigh(far.T @ far)[1][:, -1]
    direction = direction * np.sign(direction.sum() or 1) / np.abs(direction).sum()
    return Axis(((pixels - reference) @ direction).astype(np.float32), float(reference @ direction))


def ink_is_lighter(levels: Floats, page: Mask) -> bool:
    """Whether the ink is the lighter of the two: what there is less of around each place, or else what is narrower.

    Where neither tells clearly, in a picture cut close to the digit, paper is what all corners are made of, or else
    what most of the edge is.

    Args:
        levels: [h, w], 0 is the paper at the edge.
        page: [h, w].
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
    """How much is far darker, and how much far lighter, than the median around it."""
    coarse = _coarse(_extended(levels, page), max(1, round(max(page.shape) / COARSEST)))
    size = max(3, int(AROUND * math.sqrt(coarse.size)) | 1)
    median = _enlarged(ndimage.median_filter(coarse, size, mode="nearest"), page.shape)
    difference = (levels - median)[page]
    least = 0.3 * float(np.abs(difference).max())
    return float((difference[difference < -least] ** 2).sum()), float((difference[difference > least] ** 2).sum())


def _not_in_corners(levels: Floats, page: Mask) -> tuple[float, float]:
    """Whether no corner is dark, and whether none is light: 1 or 0."""
    side = max(1, round(CORNER * min(page.shape)))
    edges = (slice(None, side), slice(-side, None))
    corners = np.array([np.median(levels[rows, columns]) for rows in edges for columns in edges])
    light = corners > (levels.min() + levels.max()) / 2
    return (float(light.all()), float(not light.any())) if page.all() else (0.0, 0.0)


def _narrower(levels: Floats, page: Mask) -> tuple[float, float]:
    """How narrow the dark parts are, and how narrow the light ones.

    What is narrower than a window, and so what it fills up, counts by its area over the square of its width: a line
    counts much, a gap between lines little.
    """
    coarse = _coarse(_extended(levels, page), max(1, round(max(page.shape) / (2 * COARSE))))
    sizes = np.array([max(3, int(share * math.sqrt(coarse.size)) | 1) for share in STROKES])
    dark = [ndimage.grey_closing(coarse, (size, size), mode="nearest") - coarse for size in sizes]
    light = [coarse - ndimage.grey_opening(coarse, (size, size), mode="nearest") for size in sizes]
    least = 0.3 * max(dark[-1].max(), light[-1].max())
    narrow = []
    for parts in (dark, light):
        energy = [float((part[part > least] ** 2).sum()) for part in parts]
        narrow.append(float((np.diff(energy, prepend=0) / sizes**2).sum()))
    return narrow[0], narrow[1]


def otsu(levels: Floats) -> int:
    """The level in 0 .. 255 that parts levels of any shape into two classes with the greatest variance between them.

    N. Otsu, A threshold selection method from gray-level histograms (IEEE Trans. Systems, Man, Cybernetics 9, 1979).
    """
    share = np.bincount(levels.astype(np.uint8).ravel(), minlength=256) / levels.size
    below = share.cumsum()
    mean_below = (share * np.arange(256)).cumsum()
    product = below * (1 - below)
    between = np.zeros(256)
    np.divide((mean_below[-1] * below - mean_below) ** 2, product, out=between, where=product > 1e-12)
    return int(between.argmax())


def strength(levels: Floats, page: Mask) -> Floats:
    """Where there is ink and how much, from 0 to 1.

    Otsu's threshold cuts the levels into paper and ink. Full ink is the mean of the latter, and what is under half of
    the threshold is none: blur, and the traces of JPEG.

    Args:
        levels: the contrast, [h, w] in 0 .. 255.
        page: [h, w].

    Returns:
        [h, w]. All zero: nothing stands out from the paper.
    """
    threshold = otsu(levels[page])
    above = levels[page & (levels > threshold)]
    full = float(above.mean()) if len(above) else 0.0
    if full < LEAST_CONTRAST:
        return np.zeros_like(levels)
    return np.where(page & (levels > threshold / 2), np.minimum(levels / full, 1), 0)


def _share(signed: Floats, around: Floats, axis: Axis, sign: int, page: Mask) -> Floats:
    """The difference from the paper around, as if the paper were as bright everywhere as it is at the edge."""
    here = axis.paper + sign * around
    room, edge_room = (255 - here, 255 - axis.paper) if sign > 0 else (here, axis.paper)
    scale = max(edge_room, 40) / np.maximum(room, 40)
    return np.where(page, np.clip((signed - around) * scale, 0, 255), 0).astype(np.float32)


def _opened(signed: Floats, page: Mask) -> Floats:
    """The paper without what is lighter and narrower than a stroke, a first guess."""
    step = max(1, round(max(page.shape) / COARSE))
    coarse = _coarse(_extended(signed, page), step)
    size = max(3, int(WIDEST_STROKE * math.sqrt(coarse.size)) | 1)
    opened = ndimage.grey_opening(coarse, (size, size), mode="nearest")
    return _enlarged(ndimage.gaussian_filter(opened, size / 6), page.shape)


def _average(signed: Floats, paper: Mask) -> Floats:
    """The mean of the paper near each pixel; where all near is ink, of the paper farther away."""
    reach = REACH * max(paper.shape)
    step = max(1, int(reach / 4))
    weight = _coarse(paper.astype(np.float32), step)
    product = _coarse(np.where(paper, signed, 0).astype(np.float32), step)
    total, mass = (
        ndimage.gaussian_filter(part, reach / step, mode="nearest")
        + 0.05 * ndimage.gaussian_filter(part, 4 * reach / step, mode="nearest")
        for part in (product, weight)
    )
    everywhere = float(signed[paper].mean())
    return _enlarged((total + 1e-3 * everywhere) / (mass + 1e-3), paper.shape)


def _extended(levels: Floats, page: Mask) -> Floats:
    """The page carried on beyond its edge, so that filters see no edge."""
    if page.all():
        return levels
    rows, columns = ndimage.distance_transform_edt(~page, return_distances=False, return_indices=True)
    return levels[rows, columns]


def _coarse(levels: Floats, step: int) -> Floats:
    return levels if step == 1 else ndimage.uniform_filter(levels, step)[step // 2 :: step, step // 2 :: step]


def _enlarged(levels: Floats, shape: tuple[int, ...]) -> Floats:
    if levels.shape == shape:
        return levels
    picture = Image.fromarray(levels.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
