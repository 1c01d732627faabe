"""Connected parts of the ink: which are digits, which belong together, and which are specks, holes and edges."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from digits.apps.ink.background import EIGHT

Mask = NDArray[np.bool_]

#: All as parts of the longer side of the largest part.
SPECK = 0.08  # a smaller part is dust
CRUMB = 0.12  # a smaller part belongs to another only if it is
NEAR = 0.06  # as near as this
STROKE = 0.5  # a part up to this size may be a stroke of a digit that it does not touch,
GAP = 0.12  # if it is as near as this to its side,
ABOVE = 0.25  # or above or below it as near as this
TOUCHING = 0.03  # parts as near as this are one, whatever their size

#: The least width of a stroke, as a part of the greatest width of the strokes of the greatest part.
PEN = 0.4

#: Ink that touches the edge of the page is none of the digit if what stands free is at least so large: as a part of the
#: page's longer side.
FREE = 0.12


class Box(NamedTuple):
    """Rows and columns of parts."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def side(self) -> int:
        return max(self.height, self.width)

    def joined(self, other: "Box") -> "Box":
        """The box of both."""
        return Box(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


Group = tuple[Box, list[int]]  # a digit: its box, and the labels of its parts


def bounds(mask: NDArray[np.generic]) -> tuple[slice, slice]:
    """Rows and columns of the box around what is not zero, which there must be, in [h, w]."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def digits(ink: Mask, page: Mask) -> list[Mask]:
    """The digits of a row, from left to right, each [h, w]; an empty list if there is no ink.

    Args:
        ink: [h, w].
        page: [h, w].
    """
    labels, count = ndimage.label(ink, EIGHT)
    if not count:
        return []
    boxes = [Box(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in ndimage.find_objects(labels)]
    inside = ndimage.binary_erosion(page, EIGHT, iterations=2)
    at_edge = set(np.unique(labels[~inside])) - {0}
    chosen = _free(boxes, at_edge, _side(page))
    chosen = _of_one_pen(chosen, boxes, labels)
    side = max(boxes[index].side for index in chosen)
    groups = _merged([(boxes[index], [index + 1]) for index in chosen if boxes[index].side >= SPECK * side], side)
    return [np.isin(labels, parts) for _, parts in _row(groups)]


def _side(page: Mask) -> int:
    return max(page[bounds(page)].shape)


def _free(boxes: list[Box], at_edge: set[int], page_side: int) -> list[int]:
    """The parts that do not touch the edge; all parts, if none of these can be a digit."""
    free = [index for index in range(len(boxes)) if index + 1 not in at_edge]
    largest = max((boxes[index].side for index in free), default=0)
    if largest >= FREE * page_side:
        return free
    return list(range(len(boxes)))


def _of_one_pen(chosen: list[int], boxes: list[Box], labels: NDArray[np.intp]) -> list[int]:
    """The parts whose strokes are about as wide as those of the greatest part: not dots and lines of the paper."""
    depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1))[1:-1, 1:-1]
    widths = ndimage.maximum(depth, labels, np.arange(1, len(boxes) + 1))
    main = max(chosen, key=lambda index: boxes[index].side * widths[index])
    return [index for index in chosen if widths[index] >= PEN * widths[main]]


def _merged(groups: list[Group], side: int) -> list[Group]:
    """Join what belongs together until nothing does."""
    for first, (box, parts) in enumerate(groups):
        for second in range(first + 1, len(groups)):
            if belong_together(box, groups[second][0], side):
                joined = (box.joined(groups[second][0]), parts + groups[second][1])
                rest = [group for index, group in enumerate(groups) if index not in (first, second)]
                return _merged([*rest, joined], side)
    return groups


def belong_together(one: Box, other: Box, side: int) -> bool:
    """Whether two parts are strokes of one digit, whose longer side is about `side`."""
    beside = max(one.left, other.left) - min(one.right, other.right)
    above = max(one.top, other.top) - min(one.bottom, other.bottom)
    smaller = min(one.side, other.side)
    if smaller < CRUMB * side and max(beside, above) > NEAR * side:
        return False
    if beside <= -0.3 * min(one.width, other.width) and above <= ABOVE * side:
        return True
    if smaller < STROKE * side and beside <= GAP * side and above <= GAP * side:
        return True
    return max(beside, above) <= TOUCHING * side


def _row(groups: list[Group]) -> list[Group]:
    """The largest part, and what stands in one row with it and is about as high, from left to right."""
    main = max((box for box, _ in groups), key=lambda box: box.side)

    def beside(box: Box) -> bool:
        common = min(box.bottom, main.bottom) - max(box.top, main.top)
        return box.height >= main.height / 2 and common >= min(box.height, main.height) / 2

    return sorted((group for group in groups if group[0] == main or beside(group[0])), key=lambda group: group[0].left)
