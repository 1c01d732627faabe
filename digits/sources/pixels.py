"""Images in the types and shapes that people keep them in, as uint8 from 0 to 255. Nothing is rounded away."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import describe
from digits.data.dataset import LONGEST, SHORTEST
from digits.sources.stream import Rows, Values, wrong
from dvcproof.runtime.program import InputError

#: How far a fraction of 255 may be from a whole number: the last bit of its type, and of float32 that became float64.
_ROUNDING = {2: 0.25, 4: 1e-3, 8: 1e-3}

Block = NDArray[np.uint8]


class Images(NamedTuple):
    """Images of a set as uint8, [n, height, width] or [n, height, width, 3]."""

    name: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[Block]]


def require_form(rows: Rows) -> None:
    """Refuse an array that cannot be images.

    Raises:
        InputError: its type or shape is another.
    """
    kind, shape = rows.dtype.kind, rows.shape
    if kind not in "buif":
        raise _wrong_form(rows, "pixels as numbers")
    if not _folded(shape):
        raise _wrong_form(
            rows, f"images [n, height, width], grey or with 3 colours, of {SHORTEST} to {LONGEST} pixels a side"
        )


def images_of(train: Rows, test: Rows) -> tuple[Images, Images, list[str]]:
    """The images of both sets.

    Args:
        train: those of the training set, which `require_form` lets pass.
        test: those of the test set; the same array if one set is split.

    Returns:
        Both, and a line for each thing that is converted.

    Raises:
        InputError: the sets are of different sizes, or values mean nothing; others are refused when they are read.
    """
    shapes = [_folded(rows.shape) for rows in (train, test)]
    if shapes[0][1:3] != shapes[1][1:3]:
        raise wrong(
            test.name,
            f"images as those of {train.name}, {_pixels(shapes[0])}",
            f"{_pixels(shapes[1])} pixels",
            hint="Bring all images to one size, and save them again.",
        )
    units = _units(train, test)
    coloured = [len(shape) == 4 and not _is_grey(rows) for rows, shape in zip((train, test), shapes, strict=True)]
    colour = any(coloured)
    found = [_converted(rows, unit=unit, colour=colour) for rows, unit in zip((train, test), units, strict=True)]
    notes = [
        note
        for rows, unit in dict(zip((train, test), units, strict=True)).items()
        for note in _notes(rows, unit=unit, colour=colour)
    ]
    return found[0], found[1], notes


def _folded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as [n, height, width] or [n, height, width, 3]; nothing if it cannot be brought to these."""
    count, *sides = shape or (0,)
    if len(sides) == 1 and sides[0] > 0:
        sides = [math.isqrt(sides[0])] * 2 if math.isqrt(sides[0]) ** 2 == sides[0] else []
    if len(sides) == 3 and 1 in (sides[0], sides[2]):
        sides = sides[:2] if sides[2] == 1 else sides[1:]
    if len(sides) == 3 and sides[0] == 3 and sides[2] != 3:
        sides = [*sides[1:], 3]
    fits = len(sides) == 2 or (len(sides) == 3 and sides[2] == 3)
    return (count, *sides) if fits and all(SHORTEST <= side <= LONGEST for side in sides[:2]) else ()


def _fold(values: Values, shape: tuple[int, ...]) -> Values:
    """Rows of any allowed shape as rows of the shape that `_folded` gives."""
    if values.ndim == 4 and values.shape[1] == 3 and len(shape) == 4 and values.shape[3] != 3:
        return np.moveaxis(values, 1, 3)
    return values.reshape(len(values), *shape[1:])


def _units(train: Rows, test: Rows) -> tuple[bool, bool]:
    """Whether the values of each set are fractions from 0 to 1. If there are only 0 and 1, the other set decides."""
    first, second = _is_unit(train), _is_unit(test)
    neither = first is None and second is None
    return bool(neither or second if first is None else first), bool(neither or first if second is None else second)


def _is_unit(rows: Rows) -> bool | None:
    """Look at an array until it is clear what its values mean: at its first rows alone, but for rare arrays."""
    if rows.dtype.kind != "f":
        return rows.dtype.kind == "b"
    for values in cast(Iterator[NDArray[np.floating]], rows.rows()):
        if ((values > 0) & (values < 1)).any():
            return True
        if (values > 1).any():
            return False
    return None


def _is_grey(rows: Rows) -> bool:
    """Whether the three colours of every pixel are equal."""
    shape = _folded(rows.shape)
    blocks = (_fold(values, shape) for values in rows.rows())
    return all((block == block[..., :1]).all() for block in blocks)


def _converted(rows: Rows, *, unit: bool, colour: bool) -> Images:
    folded = _folded(rows.shape)
    shape = (*folded[:3], 3) if colour else folded[:3]

    def blocks() -> Iterator[Block]:
        first = 0
        for values in rows.rows():
            block = _to_bytes(rows, _fold(values, folded), unit=unit, first=first)
            first += len(block)
            if len(folded) < len(shape):
                block = np.repeat(block[..., None], 3, axis=3)
            yield block[..., 0] if len(folded) > len(shape) else block

    return Images(rows.name, shape, blocks)


def _to_bytes(rows: Rows, values: Values, *, unit: bool, first: int) -> Block:
    """Values as uint8; `first` is the number of the first image, for messages."""
    if values.dtype == np.uint8:
        return cast(Block, values)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    numbers = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        levels = numbers * (255 if unit else 1)
        whole = np.rint(levels)
        slack = _ROUNDING[values.dtype.itemsize] if values.dtype.kind == "f" and unit else 0
        bad = ~((np.abs(levels - whole) <= slack) & (whole >= 0) & (whole <= 255))
    if bad.any():
        place = np.unravel_index(int(bad.argmax()), bad.shape)
        raise _wrong_value(rows, values[place].item(), (first + int(place[0]), *map(int, place[1:])), unit=unit)
    return whole.astype(np.uint8)


def _wrong_value(rows: Rows, value: float, place: tuple[int, ...], *, unit: bool) -> InputError:
    where = f"image {place[0]}, row {place[1]}, column {place[2]}" + (f", colour {place[3]}" if len(place) > 3 else "")
    if unit and 0 <= value <= 1:
        expected = "fractions of 255, as dividing uint8 by 255 gives them"
        hint = "Round them yourself, and save them again: `np.rint(x * 255).astype(np.uint8)`."
    elif math.isnan(value):
        expected, hint = "numbers", "Find out what made it, and save the images again without it."
    else:
        expected = "whole numbers from 0 to 255, or fractions from 0 to 1"
        hint = "Save the images as they were before they were normalized, as uint8."
    return InputError(rows.name, expected=expected, received=f"{value:.6g} in {where}", hint=hint)


def _notes(rows: Rows, *, unit: bool, colour: bool) -> Iterator[str]:
    shape = _folded(rows.shape)
    if rows.dtype != np.uint8:
        yield f"{rows.name}: {rows.dtype} to uint8" + (", 1 to 255" if unit else "")
    if rows.shape != shape:
        yield f"{rows.name}: {_dimensions(rows.shape)} to {_dimensions(shape)}"
    if len(shape) == 4 and not colour:
        yield f"{rows.name}: three equal colours to one grey"
    if len(shape) == 3 and colour:
        yield f"{rows.name}: grey to three equal colours"


def _dimensions(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['n', *map(str, shape[1:])])}]"


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[2]}"


def _wrong_form(rows: Rows, expected: str) -> InputError:
    received = describe(rows.dtype, rows.shape)
    hint = "Convert the images to this form, and save them again."
    return InputError(rows.name, expected=expected, received=received, hint=hint)
