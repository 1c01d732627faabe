"""Group the connected components of the ink into digits, and leave out specks, holes and what touches the edge."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]  # [h, w]
Floats = NDArray[np.float32]  # [h, w], unless something else is said

#: Pixels that touch at a corner are connected.
EIGHT = np.ones((3, 3), bool)

#: Sizes and distances as fractions of the longer side of the largest component.
SPECK = 0.08  # a smaller component is dust
CRUMB, NEAR = 0.12, 0.06  # a smaller one belongs to another only within this distance
STROKE = 0.5  # a component up to this size may be a stroke that does not touch the rest of its digit,
GAP = 0.12  # within this distance beside it,
ABOVE = 0.25  # or within this distance above or below it
TOUCHING = 0.03  # components of any size within this distance are one digit

#: Least width of a stroke, as a fraction of the width of the strokes of the largest component.
PEN = 0.4
#: Ink that touches the edge is left out if other ink is at least this large, as a fraction of the page's longer side.
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
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


def bounds(mask: Mask | Floats) -> tuple[slice, slice]:
    """Return rows and columns of the box around what is not zero, where something must be."""
    (box,) = ndimage.find_objects((mask != 0).astype(np.uint8))
    return box


def digits(ink: Mask, page: Mask) -> list[Mask]:
    """Return the digits of a row from left to right, or an empty list without ink. `page` is cut to its box."""
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
    widths = ndimage.maximum(depth, labels, np.arange(count + 1))  # of the strokes, by label
    main = max(chosen, key=lambda group: max(group.sides) * widths[group.labels[0]])
    chosen = [group for group in chosen if widths[group.labels[0]] >= PEN * widths[main.labels[0]]]
    side = max(max(group.sides) for group in chosen)
    groups = _merged([group for group in chosen if max(group.sides) >= SPECK * side], side)
    row = _row(groups, max(groups, key=lambda group: max(group.sides)))
    return [np.isin(labels, group.labels) for group in sorted(row, key=lambda group: group.left)]


def _row(groups: list[Group], largest: Group) -> list[Group]:
    """Return the groups that stand beside the largest one, and are at least half as high."""
    row = []
    for group in groups:
        height, common = group.sides[0], min(group.bottom, largest.bottom) - max(group.top, largest.top)
        if height >= largest.sides[0] / 2 and common >= min(height, largest.sides[0]) / 2:
            row.append(group)
    return row


def _merged(groups: list[Group], side: int) -> list[Group]:
    """Join groups that belong together until there are none."""
    for one, other in combinations(groups, 2):
        if _belong_together(one, other, side):
            top, left = min(one.top, other.top), min(one.left, other.left)
            bottom, right = max(one.bottom, other.bottom), max(one.right, other.right)
            joined = Group(top, bottom, left, right, one.labels + other.labels)
            return _merged([*(group for group in groups if group not in (one, other)), joined], side)
    return groups


def _belong_together(one: Group, other: Group, side: int) -> bool:
    """Return whether two groups are strokes of one digit whose longer side is about `side`."""
    beside = max(one.left, other.left) - min(one.right, other.right)
    above = max(one.top, other.top) - min(one.bottom, other.bottom)
    smaller, distance = min(max(one.sides), max(other.sides)), max(beside, above)
    if smaller < CRUMB * side and distance > NEAR * side:
        return False
    overlap = beside <= -0.3 * min(one.sides[1], other.sides[1])
    if (overlap and above <= ABOVE * side) or (smaller < STROKE * side and distance <= GAP * side):
        return True
    return distance <= TOUCHING * side
