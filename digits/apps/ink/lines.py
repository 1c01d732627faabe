"""Ruled and squared paper: straight thin lines across a picture, taken away where no stroke crosses them."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

#: A line is inked along at least this part of its way across the picture, somewhere in each of so many pieces of it,
#: and its way is at least so many times the picture's shorter side.
INKED = 0.6
PIECES = 20
SHORTEST = 0.5
#: Pixels in a piece of a line that is fitted.
LENGTH = 12
#: Its greatest width: pixels, or a part of the shorter side.
WIDEST = (4, 0.03)
#: Degrees by which paper may lie askew.
ASKEW = 20
#: The most lines that are looked for.
MOST = 100


class Line(NamedTuple):
    """All points whose distance from the middle along a direction is `distance`, in pixels."""

    angle: float  # of that direction, in radians from the right, downwards
    distance: float


def without_lines(ink: Mask) -> Mask:
    """Take away straight lines that cross the picture, but no pixel that has ink beside the line: a stroke crosses it.

    Args:
        ink: [h, w].
    """
    y, x = np.nonzero(ink)
    if not len(y) or len(y) > ink.size / 2:
        return ink
    x_middle, y_middle = x - ink.shape[1] // 2, y - ink.shape[0] // 2
    cleaned = ink.copy()
    for rough in find_lines(ink, x_middle, y_middle):
        line = refined(rough, x_middle, y_middle)
        if not crosses(line, x_middle, y_middle, ink.shape):
            continue
        low, high = _width(ink, line)
        if high - low - 1 > max(WIDEST[0], WIDEST[1] * min(ink.shape)):
            continue
        across, down = math.cos(line.angle), math.sin(line.angle)
        distance = x_middle * across + y_middle * down
        band = (distance >= low - 0.5) & (distance <= high + 0.5)
        crossed = np.zeros(int(band.sum()), bool)
        for beside in (low - 2, high + 2):
            away = beside - distance[band]
            rows = np.clip(np.rint(y[band] + down * away).astype(int), 0, ink.shape[0] - 1)
            columns = np.clip(np.rint(x[band] + across * away).astype(int), 0, ink.shape[1] - 1)
            crossed |= ink[rows, columns]
        cleaned[y[band][~crossed], x[band][~crossed]] = False
    return cleaned


def find_lines(ink: Mask, x: NDArray[np.intp], y: NDArray[np.intp]) -> list[Line]:
    """The straight lines across the picture, by Hough's transform, the most fully inked first.

    Args:
        ink: [h, w].
        x: columns of the n pixels with ink, from the middle.
        y: their rows, from the middle.
    """
    radius = math.ceil(math.hypot(*ink.shape) / 2) + 1
    distances = np.arange(-radius, radius + 1)
    found = []
    for degrees in (*range(ASKEW + 1), *range(90 - ASKEW, 91 + ASKEW), *range(180 - ASKEW, 180)):
        angle = math.radians(degrees)
        bins = np.rint(x * math.cos(angle) + y * math.sin(angle)).astype(np.intp) + radius
        counts = np.bincount(bins, minlength=len(distances))
        counts = np.convolve(counts, (1, 1, 1), "same")  # a line may lie between two angles
        starts, ends = chords(angle, distances, ink.shape)
        ways = np.maximum(0, ends - starts)
        good = (counts >= INKED * ways) & (ways >= SHORTEST * min(ink.shape))
        found += [(counts[place] / ways[place], degrees, distances[place]) for place in np.flatnonzero(good)]
    return _distinct(np.array(sorted(found, reverse=True)))


def refined(line: Line, x: NDArray[np.intp], y: NDArray[np.intp]) -> Line:
    """The straight line through the ink near a rough one: by least squares through the median of each piece, twice.

    A stroke of a digit along the line moves few of the medians, and these are left out the second time.

    Args:
        line: the rough one.
        x: columns of the n pixels with ink, from the middle.
        y: their rows, from the middle.
    """
    across, down = math.cos(line.angle), math.sin(line.angle)
    off, along = x * across + y * down - line.distance, y * across - x * down
    near = np.abs(off) <= 4
    piece = np.floor(along[near] / LENGTH)
    medians = np.array(
        [(np.median(along[near][piece == one]), np.median(off[near][piece == one])) for one in set(piece)]
    )
    if len(medians) < 3:
        return line
    slope, shift = np.polyfit(medians[:, 0], medians[:, 1], 1)
    good = medians[np.abs(medians[:, 1] - slope * medians[:, 0] - shift) <= 1]
    if len(good) >= 3:
        slope, shift = np.polyfit(good[:, 0], good[:, 1], 1)
    turn = math.atan(slope)
    return Line(line.angle - turn, (line.distance + shift) * math.cos(turn))


def crosses(line: Line, x: NDArray[np.intp], y: NDArray[np.intp], shape: tuple[int, ...]) -> bool:
    """Whether a line is inked from edge to edge: a long straight stroke of a digit is not."""
    across, down = math.cos(line.angle), math.sin(line.angle)
    near = np.abs(x * across + y * down - line.distance) <= 2
    (start,), (end,) = chords(line.angle, np.array([line.distance]), shape)
    pieces, _ = np.histogram((y * across - x * down)[near], PIECES, (start, max(end, start + 1)))
    return bool(pieces.all())


def _distinct(found: Values) -> list[Line]:
    """Of lines that are nearly the same, the first. Rows: part that is inked, degrees, distance."""
    lines: list[Line] = []
    while len(found) and len(lines) < MOST:
        _, degrees, distance = found[0]
        lines.append(Line(math.radians(degrees), float(distance)))
        turn = np.abs(found[:, 1] - degrees)
        same_side = np.where(turn > 90, -found[:, 2], found[:, 2])
        found = found[~((np.minimum(turn, 180 - turn) <= 6) & (np.abs(same_side - distance) <= 8))]
    return lines


def chords(angle: float, distances: Values | NDArray[np.intp], shape: tuple[int, ...]) -> tuple[Values, Values]:
    """Where the lines at these distances enter a picture and leave it, along the lines, from next to the middle.

    Returns:
        starts and ends, each [n]; a line that misses the picture ends before it starts.
    """
    ends = []
    for foot, step, half in (
        (distances * math.cos(angle), -math.sin(angle), shape[1] / 2),
        (distances * math.sin(angle), math.cos(angle), shape[0] / 2),
    ):
        slope = step if abs(step) > 1e-9 else 1e-9
        ends.append(np.sort(np.stack([(-half - foot) / slope, (half - foot) / slope]), axis=0))
    return np.maximum(ends[0][0], ends[1][0]), np.minimum(ends[0][1], ends[1][1])


def _width(ink: Mask, line: Line) -> tuple[float, float]:
    """The distances just before and after those at which most of the line is inked."""
    low = high = line.distance
    reach = 13
    while low > line.distance - reach and _inked(ink, Line(line.angle, low)) > 0.4:
        low -= 1
    while high < line.distance + reach and _inked(ink, Line(line.angle, high)) > 0.4:
        high += 1
    return low, high


def _inked(ink: Mask, line: Line) -> float:
    """The part of a line that is inked."""
    length = int(math.hypot(*ink.shape) / 2)
    along = np.arange(-length, length + 1)
    across, down = math.cos(line.angle), math.sin(line.angle)
    columns = np.rint(line.distance * across - along * down).astype(int) + ink.shape[1] // 2
    rows = np.rint(line.distance * down + along * across).astype(int) + ink.shape[0] // 2
    inside = (columns >= 0) & (columns < ink.shape[1]) & (rows >= 0) & (rows < ink.shape[0])
    return float(ink[rows[inside], columns[inside]].mean()) if inside.any() else 0.0
