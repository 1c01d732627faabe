"""Convert images from the types and shapes that people keep them in to uint8 from 0 to 255. Nothing is rounded away."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import describe
from digits.data.dataset import LONGEST, SHORTEST
from digits.sources.rows import Rows, Values
from dvcproof.runtime.program import InputError

#: How far a fraction of 255 may be from a whole number, by the bytes of its type. A float64 may have been a float32.
_ROUNDING = {2: 0.25, 4: 1e-3, 8: 1e-3}

Block = NDArray[np.uint8]


def require_form(rows: Rows) -> None:
    """Raise InputError if an array cannot be images, by its type or shape."""
    received, hint = describe(rows.dtype, rows.shape), "Convert the images to this form, and save them again."
    if rows.dtype.kind not in "buif":
        raise InputError(rows.name, expected="pixels as numbers", received=received, hint=hint)
    if not _folded(rows.shape):
        form = f"images [n, height, width], grey or with 3 colours, of {SHORTEST} to {LONGEST} pixels a side"
        raise InputError(rows.name, expected=form, received=received, hint=hint)


def images_of(train: Rows, test: Rows) -> tuple[Rows, Rows, list[str]]:
    """Convert the images of both sets.

    Args:
        train: images that `require_form` has passed.
        test: images that `require_form` has passed; the same array if one set is split.

    Returns:
        Both as uint8, [n, height, width] or [n, height, width, 3], and a line for each thing that is converted.

    Raises:
        InputError: the sets differ in size. Values that cannot be converted are refused when the images are read.
    """
    sets = [train] if test is train else [train, test]
    sizes = [f"{shape[1]} x {shape[2]}" for shape in (_folded(rows.shape) for rows in sets)]
    if sizes[0] != sizes[-1]:
        expected, hint = f"images of {sizes[0]} pixels, as in {train.name}", "Bring all images to one size."
        raise InputError(test.name, expected=expected, received=f"{sizes[-1]} pixels", hint=hint)
    units = [_is_unit(rows) for rows in sets]
    if None in units:  # only 0 and 1: the other set decides, and if neither does, these are fractions
        units = [next((unit for unit in units if unit is not None), True) if unit is None else unit for unit in units]
    colour = any(len(_folded(rows.shape)) == 4 and not _is_grey(rows) for rows in sets)
    found = [_converted(rows, unit=bool(unit), colour=colour) for rows, unit in zip(sets, units, strict=True)]
    return found[0], found[-1], [f"{rows.name}: {note}" for rows in found for note in rows.notes]


def _folded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape as [n, height, width] or [n, height, width, 3]; () if it cannot be brought to these."""
    count, *sides = shape or (0,)
    if len(sides) == 1 and sides[0] > 0:
        sides = [math.isqrt(sides[0])] * 2 if math.isqrt(sides[0]) ** 2 == sides[0] else []
    if len(sides) == 3 and 1 in (sides[0], sides[2]):
        sides = sides[:2] if sides[2] == 1 else sides[1:]
    if _channels_first((count, *sides)):
        sides = [*sides[1:], 3]
    fits = len(sides) == 2 or (len(sides) == 3 and sides[2] == 3)
    return (count, *sides) if fits and all(SHORTEST <= side <= LONGEST for side in sides[:2]) else ()


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] == 3 and shape[3] != 3


def _folded_blocks(rows: Rows) -> Iterator[Values]:
    """Read images in the shape that `_folded` gives."""
    shape = _folded(rows.shape)
    for values in rows.blocks():
        if _channels_first(rows.shape):
            yield np.moveaxis(values, 1, 3)
        else:
            yield values.reshape(len(values), *shape[1:])


def _is_unit(rows: Rows) -> bool | None:
    """Return whether values are fractions from 0 to 1; None if there are only 0 and 1. Reads until that is clear."""
    if rows.dtype.kind != "f":
        return rows.dtype.kind == "b"
    for values in rows.blocks():
        if ((values > 0) & (values < 1)).any():
            return True
        if (values > 1).any():
            return False
    return None


def _is_grey(rows: Rows) -> bool:
    """Return whether the three colours of every pixel are equal."""
    return all((block == block[..., :1]).all() for block in _folded_blocks(rows))


def _converted(rows: Rows, *, unit: bool, colour: bool) -> Rows:
    folded = _folded(rows.shape)
    shape = (*folded[:3], 3) if colour else folded[:3]

    def blocks() -> Iterator[Block]:
        first = 0
        for values in _folded_blocks(rows):
            block = _to_bytes(rows.name, values, unit=unit, first=first)
            first += len(block)
            if len(folded) < len(shape):
                block = np.repeat(block[..., None], 3, axis=3)
            yield block[..., 0] if len(folded) > len(shape) else block

    notes = [*rows.notes]
    if rows.dtype != np.uint8:
        notes.append(f"{rows.dtype} to uint8" + (", 1 to 255" if unit else ""))
    if rows.shape != folded:
        before, after = (", ".join(["n", *map(str, each[1:])]) for each in (rows.shape, folded))
        notes.append(f"[{before}] to [{after}]")
    if len(folded) != len(shape):
        notes.append("grey to three equal colours" if colour else "three equal colours to one grey")
    return Rows(rows.name, np.dtype(np.uint8), shape, blocks, notes=tuple(notes))


def _to_bytes(name: str, values: Values, *, unit: bool, first: int) -> Block:
    """Convert values to uint8; `first` is the number of the first image, for messages."""
    if values.dtype == np.uint8:
        return values
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
        raise _wrong_value(name, values[place].item(), [first + int(place[0]), *map(int, place[1:])], unit=unit)
    return whole.astype(np.uint8)


def _wrong_value(name: str, value: float, place: list[int], *, unit: bool) -> InputError:
    where = ", ".join(f"{what} {k}" for what, k in zip(("image", "row", "column", "colour"), place, strict=False))
    expected = "whole numbers from 0 to 255, or fractions from 0 to 1"
    hint = "Save the images as they were before they were normalized, as uint8."
    if unit and 0 <= value <= 1:
        expected = "fractions of 255, as dividing uint8 by 255 gives them"
        hint = "Round them yourself, and save them again: `np.rint(x * 255).astype(np.uint8)`."
    elif math.isnan(value):
        hint = "Find out what made it, and save the images again without it."
    return InputError(name, expected=expected, received=f"{value:.6g} in {where}", hint=hint)
