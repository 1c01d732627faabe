"""Remove the straight thin lines of ruled and squared paper. Pixels where a stroke crosses a line are kept."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.apps.ink.components import Mask

Values = NDArray[np.float64] | NDArray[np.intp]

#: A line has ink on at least the fraction INKED of its way across the picture, and in each of PIECES pieces of this
#: way. The way is at least SHORTEST times as long as the picture's shorter side.
INKED, PIECES, SHORTEST = 0.6, 20, 0.5
#: The length, in pixels, of the pieces of ink to which a line is fitted.
LENGTH = 12
#: The greatest width of a line: the larger of a number of pixels and a fraction of the shorter side.
WIDEST = (4, 0.03)
#: The most degrees by which paper may be rotated.
ASKEW = 20
#: The most lines that are searched.
MOST = 100


class Line(NamedTuple):
    """A line. A perpendicular from the middle of the picture to the line has this angle and length."""

    angle: float  # of the perpendicular, in radians from the right, downwards
    distance: float  # length of the perpendicular, in pixels

    def across(self, x: Values, y: Values) -> NDArray[np.float64]:
        """Return the coordinates of points along the perpendicular: `distance` for the points of the line."""
        return x * math.cos(self.angle) + y * math.sin(self.angle)

    def along(self, x: Values, y: Values) -> NDArray[np.float64]:
        """Return the coordinates of points along the line."""
        return y * math.cos(self.angle) - x * math.sin(self.angle)


def without_lines(ink: Mask) -> Mask:
    """Return the ink without lines from edge to edge. A pixel with ink beside the line is kept: a stroke crosses it."""
    rows, columns = np.nonzero(ink)
    if not len(rows) or len(rows) > ink.size / 2:
        return ink
    x, y = columns - ink.shape[1] // 2, rows - ink.shape[0] // 2
    cleaned = ink.copy()
    for rough in find_lines(ink, x, y):
        line = _refined(rough, x, y)
        low, high = _edge(ink, line, -1), _edge(ink, line, 1)
        if high - low - 1 > max(WIDEST[0], WIDEST[1] * min(ink.shape)) or not _crosses(line, x, y, ink.shape):
            continue
        distance = line.across(x, y)
        band = (distance >= low - 0.5) & (distance <= high + 0.5)
        crossed = np.zeros(int(band.sum()), bool)
        for beside in (low - 2, high + 2):
            away = beside - distance[band]
            near_rows = np.rint(rows[band] + math.sin(line.angle) * away).astype(int)
            near_columns = np.rint(columns[band] + math.cos(line.angle) * away).astype(int)
            crossed |= ink[near_rows.clip(0, ink.shape[0] - 1), near_columns.clip(0, ink.shape[1] - 1)]
        cleaned[rows[band][~crossed], columns[band][~crossed]] = False
    return cleaned


def find_lines(ink: Mask, x: NDArray[np.intp], y: NDArray[np.intp]) -> list[Line]:
    """Find straight lines with the Hough transform. Lines with the largest fraction of ink come first.

    `x` and `y` are the coordinates of the ink's pixels, from the middle of the picture.
    """
    radius = math.ceil(math.hypot(*ink.shape) / 2) + 1
    distances = np.arange(-radius, radius + 1)
    found = []
    for degrees in (*range(ASKEW + 1), *range(90 - ASKEW, 91 + ASKEW), *range(180 - ASKEW, 180)):
        line = Line(math.radians(degrees), 0)
        counts = np.bincount(np.rint(line.across(x, y)).astype(np.intp) + radius, minlength=len(distances))
        counts = np.convolve(counts, (1, 1, 1), "same")  # since a line may have an angle between two of these
        starts, ends = _chords(line.angle, distances, ink.shape)
        ways = np.maximum(0, ends - starts)
        good = (counts >= INKED * ways) & (ways >= SHORTEST * min(ink.shape))
        found += [(counts[place] / ways[place], degrees, distances[place]) for place in np.flatnonzero(good)]
    return _distinct(np.array(sorted(found, reverse=True)))


def _distinct(found: NDArray[np.float64]) -> list[Line]:
    """Keep only the first of lines that are nearly the same. Rows of `found`: fraction with ink, degrees, distance."""
    lines: list[Line] = []
    while len(found) and len(lines) < MOST:
        _, degrees, distance = found[0]
        lines.append(Line(math.radians(degrees), float(distance)))
        turn = np.abs(found[:, 1] - degrees)
        same_side = np.where(turn > 90, -found[:, 2], found[:, 2])
        found = found[(np.minimum(turn, 180 - turn) > 6) | (np.abs(same_side - distance) > 8)]
    return lines


def _refined(line: Line, x: NDArray[np.intp], y: NDArray[np.intp]) -> Line:
    """Fit a line to the ink near a rough line: by least squares to the medians of pieces of the ink, twice.

    A stroke of a digit along the line moves only few medians. The second fit leaves these medians out.
    """
    off, along = line.across(x, y) - line.distance, line.along(x, y)
    near = np.abs(off) <= 4
    off, along, piece = off[near], along[near], np.floor(along[near] / LENGTH)
    medians = np.array([(np.median(along[piece == one]), np.median(off[piece == one])) for one in set(piece)])
    if len(medians) < 3:
        return line
    slope, shift = np.polyfit(medians[:, 0], medians[:, 1], 1)
    good = medians[np.abs(medians[:, 1] - slope * medians[:, 0] - shift) <= 1]
    if len(good) >= 3:
        slope, shift = np.polyfit(good[:, 0], good[:, 1], 1)
    turn = math.atan(slope)
    return Line(line.angle - turn, (line.distance + shift) * math.cos(turn))


def _crosses(line: Line, x: NDArray[np.intp], y: NDArray[np.intp], shape: tuple[int, ...]) -> bool:
    """Return whether a line has ink from edge to edge. A long straight stroke of a digit does not reach the edges."""
    near = np.abs(line.across(x, y) - line.distance) <= 2
    (start,), (end,) = _chords(line.angle, np.array([line.distance]), shape)
    pieces, _ = np.histogram(line.along(x, y)[near], PIECES, (start, max(end, start + 1)))
    return bool(pieces.all())


def _chords(angle: float, distances: Values, shape: tuple[int, ...]) -> tuple[Values, Values]:
    """Return the coordinates, along lines at these distances, at which they enter and leave a picture.

    For a line outside the picture, the second coordinate is smaller than the first.
    """
    ends = []
    for foot, step, half in (
        (distances * math.cos(angle), -math.sin(angle), shape[1] / 2),
        (distances * math.sin(angle), math.cos(angle), shape[0] / 2),
    ):
        slope = step if abs(step) > 1e-9 else 1e-9
        ends.append(np.sort(np.stack([(-half - foot) / slope, (half - foot) / slope]), axis=0))
    return np.maximum(ends[0][0], ends[1][0]), np.minimum(ends[0][1], ends[1][1])


def _edge(ink: Mask, line: Line, step: int) -> float:
    """Move a line in steps of `step`. Return the first distance at which most of the line has no ink."""
    length = int(math.hypot(*ink.shape) / 2)
    along = np.arange(-length, length + 1)
    across, down = math.cos(line.angle), math.sin(line.angle)
    distance = line.distance
    for _ in range(13):
        columns = np.rint(distance * across - along * down).astype(int) + ink.shape[1] // 2
        rows = np.rint(distance * down + along * across).astype(int) + ink.shape[0] // 2
        inside = (columns >= 0) & (columns < ink.shape[1]) & (rows >= 0) & (rows < ink.shape[0])
        if not inside.any() or ink[rows[inside], columns[inside]].mean() <= 0.4:
            break
        distance += step
    return distance
