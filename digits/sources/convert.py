"""Convert images and labels from the types and shapes that people keep them in to the ones that `load` stores.

Images become uint8 from 0 to 255, and nothing is rounded away; labels become whole numbers or texts [n].
"""

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

#: Classes of the widest one-hot labels, bytes of the longest text, and bytes of all texts.
MOST_COLUMNS = 256
MOST_TEXT_BYTES = 1024
MOST_BYTES = 2**27

#: Maximum number of distinct text labels.
MOST_DIFFERENT = 2**16

#: Columns of QMNIST's labels: the first is the digit, the others tell where it came from.
QMNIST_COLUMNS = 8

_INT32 = np.iinfo(np.int32)


# Images


def require_images_form(rows: Rows) -> None:
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
        train: images that `require_images_form` has passed.
        test: images that `require_images_form` has passed; the same array if one set is split.

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

    def blocks() -> Iterator[NDArray[np.uint8]]:
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


def _to_bytes(name: str, values: Values, *, unit: bool, first: int) -> NDArray[np.uint8]:
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


# Labels


def require_labels_form(rows: Rows) -> None:
    """Raise InputError if an array cannot be labels, by its type or shape."""
    shape, size, expected = rows.shape, rows.dtype.itemsize, ""
    if len(shape) not in (1, 2) or (len(shape) == 2 and not 1 <= shape[1] <= MOST_COLUMNS):
        expected = "labels [n], [n, 1] or one-hot [n, classes]"
    elif rows.dtype.kind not in "buifUS" or not 0 < size <= MOST_TEXT_BYTES:
        expected = "labels as whole numbers or short texts"
    elif rows.dtype.kind in "US" and (size * shape[0] > MOST_BYTES or shape[1:] not in ((), (1,))):
        expected = f"texts [n] of at most {MOST_BYTES} bytes"
    if expected:
        hint = "Convert the labels to this form, and save them again."
        raise InputError(rows.name, expected=expected, received=describe(rows.dtype, shape), hint=hint)


def labels_of(rows: Rows) -> tuple[Values, list[str]]:
    """Read the labels whole, for they are small.

    Args:
        rows: labels that `require_labels_form` has passed.

    Returns:
        uint8 or int32, or texts, [n]; and a line that says what was converted, if anything was.

    Raises:
        InputError: a label is not a whole number, or a row of one-hot labels is not all 0 but for a single 1.
    """
    if rows.dtype.kind in "US":
        return _texts(rows)
    labels: NDArray[np.generic] = np.empty(rows.shape[0], np.uint8)
    first, form = 0, ""
    for values in rows.blocks():
        numbers, form = _numbers(rows.name, values, first, form)
        if labels.dtype == np.uint8 and not ((numbers >= 0) & (numbers <= 255)).all():
            labels = labels.astype(np.int32)
        labels[first : first + len(numbers)] = numbers
        first += len(numbers)
    changed = [f"{rows.dtype} to {labels.dtype}"] if rows.dtype != labels.dtype else []
    if form == "one-hot":
        changed = [f"one-hot {describe(rows.dtype, (None, *rows.shape[1:]))} to the place of the one"]
    elif form == "QMNIST":
        changed.append(f"the first of {QMNIST_COLUMNS} columns, as in QMNIST")
    return labels, [f"{rows.name}: {', '.join((*rows.notes, *changed))}"] if changed else []


def _numbers(name: str, values: Values, first: int, form: str) -> tuple[NDArray[np.int64], str]:
    """Convert a block of labels to whole numbers; `form` is what earlier blocks were."""
    if values.ndim == 1 or values.shape[1] == 1:
        return _whole(name, values.reshape(-1), first), ""
    one_hot = ((values == 0) | (values == 1)).all(axis=1) & (np.count_nonzero(values, axis=1) == 1)
    if form != "QMNIST" and one_hot.all():
        return values.argmax(axis=1), "one-hot"
    if form != "one-hot" and values.shape[1] == QMNIST_COLUMNS and values.dtype.kind in "iu":
        return _whole(name, values[:, 0], first), "QMNIST"
    place = int(one_hot.argmin())
    received = f"{' '.join(f'{value:.4g}' for value in values[place][:12].tolist())} in row {first + place}"
    hint = "Save one label for each image, [n]: `y.argmax(axis=1)`, if the greatest value is the class."
    raise InputError(name, expected="a single 1 in each row of one-hot labels", received=received, hint=hint)


def _whole(name: str, values: Values, first: int) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        bad = ~((values >= _INT32.min) & (values <= _INT32.max) & (np.floor(values) == values))
    if values.dtype.kind != "b" and bad.any():
        received = f"{values[bad.argmax()].item()!r} at position {first + int(bad.argmax())}"
        expected, hint = "whole numbers of at most nine digits", "Correct the label, or leave out this image."
        raise InputError(name, expected=f"labels that are {expected}", received=received, hint=hint)
    return values.astype(np.int64)


def _texts(rows: Rows) -> tuple[Values, list[str]]:
    decode = np.char.decode if rows.dtype.kind == "S" else np.asarray
    try:
        labels = np.concatenate([decode(values).astype(str).reshape(-1) for values in rows.blocks()])
        different = [str(text) for text in np.unique(labels)]
    except (ValueError, SystemError):  # NumPy raises both: for bytes that are not UTF-8, and for invalid characters
        raise InputError(rows.name, "the labels are not valid text", hint="Save them in UTF-8 or as numbers.") from None
    if len(different) > MOST_DIFFERENT:
        hint = "Check that these are labels, and save them again."
        raise InputError(rows.name, f"there are {len(different)} different labels", hint=hint)
    if all(text.isascii() and text.isdecimal() and len(text) < 10 for text in different):
        return labels.astype(np.int32), [f"{rows.name}: texts to whole numbers"]
    return labels, []
