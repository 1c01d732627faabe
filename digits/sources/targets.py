"""Labels in the types and shapes that people keep them in, as whole numbers or texts [n]."""

from collections.abc import Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import describe
from digits.sources.stream import Held, Rows, Values, wrong
from dvcproof.runtime.program import InputError

#: Classes of the widest one-hot labels, and bytes of the longest text.
MOST_COLUMNS = 256
MOST_TEXT_BYTES = 1024

#: Bytes of all labels that are texts.
MOST_BYTES = 2**27

#: Texts that are told apart: more are no labels.
MOST_DIFFERENT = 2**16

#: Columns of QMNIST's labels, of which the first is the digit, and the others say where it came from.
QMNIST_COLUMNS = 8

_INT32 = np.iinfo(np.int32)

Numbers = NDArray[np.integer | np.floating]


def require_form(rows: Rows) -> None:
    """Refuse an array that cannot be labels.

    Raises:
        InputError: its type or shape is another.
    """
    kind, shape = rows.dtype.kind, rows.shape
    if len(shape) not in (1, 2) or (len(shape) == 2 and not 1 <= shape[1] <= MOST_COLUMNS):
        hint = "Convert the labels to this form, and save them again."
        raise wrong(rows.name, "labels [n], [n, 1] or one-hot [n, classes]", describe(rows.dtype, shape), hint=hint)
    if kind not in "buifUS" or rows.dtype.itemsize > MOST_TEXT_BYTES or not rows.dtype.itemsize:
        expected = "labels as whole numbers or short texts"
        raise wrong(rows.name, expected, describe(rows.dtype, shape), hint="Convert the labels, and save them again.")
    if kind in "US" and rows.dtype.itemsize * shape[0] > MOST_BYTES:
        raise wrong(rows.name, f"at most {MOST_BYTES} bytes of texts", describe(rows.dtype, shape), hint="Number them.")


def labels_of(rows: Rows) -> tuple[Values, str]:
    """The labels whole, for they are small.

    Args:
        rows: what `require_form` lets pass.

    Returns:
        uint8 or int32, or texts, [n]; and what was converted, in a line, if anything was.

    Raises:
        InputError: a label is no whole number, or one-hot labels have another sum than 1.
    """
    if rows.dtype.kind in "US":
        return _texts(rows)
    labels: NDArray[np.generic] = np.empty(rows.shape[0], np.uint8)
    first, form = 0, ""
    for values in cast(Iterator[Numbers], rows.rows()):
        numbers, form = _numbers(rows, values, first, form)
        if labels.dtype == np.uint8 and not ((numbers >= 0) & (numbers <= 255)).all():
            labels = labels.astype(np.int32)
        labels[first : first + len(numbers)] = numbers
        first += len(numbers)
    stored = not isinstance(rows, Held)  # else the type is ours
    changed = [f"{rows.dtype} to {labels.dtype}"] if stored and rows.dtype != labels.dtype and form != "one-hot" else []
    changed += {
        "one-hot": [f"one-hot {describe(rows.dtype, (None, *rows.shape[1:]))} to the place of the one"],
        "QMNIST": [f"the first of {QMNIST_COLUMNS} columns, as in QMNIST"],
    }.get(form, [])
    return labels, f"{rows.name}: {', '.join(changed)}" if changed else ""


def _numbers(rows: Rows, values: Numbers, first: int, form: str) -> tuple[NDArray[np.int64], str]:
    """A part of the labels as whole numbers; `form` is what earlier parts were."""
    if values.ndim == 2 and values.shape[1] > 1:
        one_hot = ((values == 0) | (values == 1)).all(axis=1) & (np.count_nonzero(values, axis=1) == 1)
        if form != "QMNIST" and one_hot.all():
            return values.argmax(axis=1), "one-hot"
        if form != "one-hot" and values.shape[1] == QMNIST_COLUMNS and values.dtype.kind in "iu":
            return _whole(rows, values[:, 0], first), "QMNIST"
        place = int(one_hot.argmin())
        shown = " ".join(f"{value:.4g}" for value in values[place][:12].tolist())
        hint = "Save one label for each image, [n]: `y.argmax(axis=1)`, if the greatest value is the class."
        raise wrong(rows.name, "a single 1 in each row of one-hot labels", f"{shown} in row {first + place}", hint=hint)
    return _whole(rows, values.reshape(-1), first), ""


def _whole(rows: Rows, values: Numbers, first: int) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        bad = ~((values >= _INT32.min) & (values <= _INT32.max) & (np.floor(values) == values))
    if values.dtype.kind != "b" and bad.any():
        place = int(bad.argmax())
        raise InputError(
            rows.name,
            expected="labels that are whole numbers of at most nine digits",
            received=f"{values[place].item()!r} at position {first + place}",
            hint="Correct the label, or leave out this image.",
        )
    return values.astype(np.int64)


def _texts(rows: Rows) -> tuple[Values, str]:
    blocks = []
    for values in rows.rows():
        try:
            texts = (
                np.char.decode(cast(NDArray[np.bytes_], values), "utf-8")
                if values.dtype.kind == "S"
                else values.astype(str)
            )
        except UnicodeDecodeError as error:
            hint = "Save the labels again, as texts in UTF-8 or as numbers."
            raise wrong(rows.name, "texts in UTF-8", f"others ({error.reason})", hint=hint) from None
        if texts.ndim == 2 and texts.shape[1] > 1:
            hint = "Convert the labels to this form, and save them again."
            raise wrong(rows.name, "texts [n]", describe(rows.dtype, rows.shape), hint=hint)
        blocks.append(texts.reshape(-1))
    labels = np.concatenate(blocks)
    different = _different(rows, labels)
    if all(text.isascii() and text.isdecimal() and len(text) < 10 for text in different):
        return labels.astype(np.int32), f"{rows.name}: texts to whole numbers"
    return labels, ""


def _different(rows: Rows, labels: Values) -> list[str]:
    """Each text once."""
    found = np.unique(labels)
    try:
        if len(found) <= MOST_DIFFERENT:
            return [str(text) for text in found]
        received = f"{len(found)} different ones"
    except (ValueError, SystemError):  # a number that is no letter of Unicode
        received = "an array with something else in it"
    hint = "Check that these are labels, and save them again."
    raise wrong(rows.name, f"at most {MOST_DIFFERENT} different texts", received, hint=hint)
