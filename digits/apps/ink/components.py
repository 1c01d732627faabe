"""Group the ink's connected components into digits, without specks, thin lines and ink that touches the edge."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]  # [h, w]
Floats = NDArray[np.float32]  # [h, w], unless a docstring names another shape

#: A neighbourhood in which pixels that touch at a corner are connected.
EIGHT = np.ones((3, 3), bool)

#: Sizes and distances, as fractions of the longer side of the largest component.
SPECK = 0.08  # a component smaller than this is dust
CRUMB, NEAR = 0.12, 0.06  # a component smaller than CRUMB belongs to another component only within the distance NEAR
STROKE = 0.5  # a component smaller than this may be a separate stroke of a digit
GAP = 0.12  # a separate stroke belongs to its digit within this distance
ABOVE = 0.25  # a component straight above or below another belongs to it within this distance
TOUCHING = 0.03  # components of any size within this distance form one digit

#: The least width of strokes, as a fraction of the width of the strokes of the main component.
PEN = 0.4
#: Ink that touches the edge is left out if there is other ink of at least this size, as a fraction of the page's longer
#: side.
FREE = 0.12


class Group(NamedTuple):
    """Components that form one digit, with the box around them."""

    top: int
    bottom: int
    left: int
    right: int
    labels: tuple[int, ...]

    @property
    def sides(self) -> tuple[int, int]:
        """Return height and width."""
        return self.bottom - self.top, self.right - self.left


def bounds(mask: Mask | Floats) -> tuple[slice, slice]:
    """Return rows and columns of the box around all values that are not zero. There must be such a value."""
    (box,) = ndimage.find_objects((mask != 0).astype(np.uint8))
    return box


def digits(ink: Mask, page: Mask) -> list[Mask]:
    """Return a mask for each digit of a row, from left to right; no masks without ink. `page` is cut to its box."""
    labels, count = ndimage.label(ink, EIGHT)
    if not count:
        return []
    boxes = enumerate(ndimage.find_objects(labels), 1)
    chosen = [Group(rows.start, rows.stop, left.start, left.stop, (label,)) for label, (rows, left) in boxes]
    at_edge = set(labels[~ndimage.binary_erosion(page, EIGHT, iterations=2)].tolist())
    free = [group for group in chosen if group.labels[0] not in at_edge]
    if max((max(group.sides) for group in free), default=0) >= FREE * max(page.shape):
        chosen = free
    depth = ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1]
    widths = ndimage.maximum(depth, labels, np.arange(count + 1))  # half the greatest width of a stroke, by label
    main = max(chosen, key=lambda group: max(group.sides) * widths[group.labels[0]])
    chosen = [group for group in chosen if widths[group.labels[0]] >= PEN * widths[main.labels[0]]]
    side = max(max(group.sides) for group in chosen)
    groups = _merged([group for group in chosen if max(group.sides) >= SPECK * side], side)
    row = _row(groups, max(groups, key=lambda group: max(group.sides)))
    return [np.isin(labels, group.labels) for group in sorted(row, key=lambda group: group.left)]


def _row(groups: list[Group], largest: Group) -> list[Group]:
    """Return the largest group, and the groups beside it that are at least half as high."""
    row = []
    for group in groups:
        height, common = group.sides[0], min(group.bottom, largest.bottom) - max(group.top, largest.top)
        if height >= largest.sides[0] / 2 and common >= min(height, largest.sides[0]) / 2:
            row.append(group)
    return row


def _merged(groups: list[Group], side: int) -> list[Group]:
    """Join groups that belong together, until no two groups do."""
    for one, other in combinations(groups, 2):
        if _belong_together(one, other, side):
            top, left = min(one.top, other.top), min(one.left, other.left)
            bottom, right = max(one.bottom, other.bottom), max(one.right, other.right)
            joined = Group(top, bottom, left, right, one.labels + other.labels)
            return _merged([*(group for group in groups if group not in (one, other)), joined], side)
    return groups


def _belong_together(one: Group, other: Group, side: int) -> bool:
    """Return whether two groups are parts of one digit. `side` is about the longer side of a digit."""
    beside = max(one.left, other.left) - min(one.right, other.right)
    above = max(one.top, other.top) - min(one.bottom, other.bottom)
    smaller, distance = min(max(one.sides), max(other.sides)), max(beside, above)
    if smaller < CRUMB * side and distance > NEAR * side:
        return False
    overlap = beside <= -0.3 * min(one.sides[1], other.sides[1])
    if (overlap and above <= ABOVE * side) or (smaller < STROKE * side and distance <= GAP * side):
        return True
    return distance <= TOUCHING * side
