"""Convert labels from the types and shapes that people keep them in to whole numbers or texts [n]."""

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import describe
from digits.sources.rows import Rows, Values
from dvcproof.runtime.program import InputError

#: Classes of the widest one-hot labels, bytes of the longest text, and bytes of all texts.
MOST_COLUMNS = 256
MOST_TEXT_BYTES = 1024
MOST_BYTES = 2**27

#: Maximum number of distinct text labels.
MOST_DIFFERENT = 2**16

#: Columns of QMNIST's labels: the first is the digit, the others tell where it came from.
QMNIST_COLUMNS = 8

_INT32 = np.iinfo(np.int32)


def require_form(rows: Rows) -> None:
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
        rows: labels that `require_form` has passed.

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
