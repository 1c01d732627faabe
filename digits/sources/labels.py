"""The labels of a source: read them in any common type, and number the classes from 0."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.classes import LONGEST_NAME, MOST_CLASSES, is_allowed_name, numbered
from digits.data.npy import describe
from digits.sources.arrays import MOST_COLUMNS, Rows, Values, held, smallest
from dvcproof.runtime.program import InputError

#: The most bytes of a text label, and of all text labels together.
MOST_TEXT_BYTES = 1024
MOST_BYTES = 2**27

#: Columns of QMNIST's labels. The first is the digit; the others describe its origin.
QMNIST_COLUMNS = 8

#: Labels that are numbered at a time, since NumPy's search takes eight bytes for each label.
BLOCK = 2**16

Numbers = NDArray[np.uint8]


class Labels(NamedTuple):
    """The labels of both sets as numbers of classes."""

    train: Numbers  # [n] in 0 .. classes-1
    test: Numbers  # [m] in 0 .. classes-1
    names: list[str]  # the original labels, as names of the classes, in the order of the numbers

    @property
    def notes(self) -> list[str]:
        """Return a line that says how the labels were numbered; nothing if they already were 0, 1, 2 and so on."""
        if self.names == numbered(len(self.names)):
            return []
        return [f"labels: {_listed(self.names)} numbered from 0 to {len(self.names) - 1}"]


# From a source to whole numbers or texts


def require_labels_form(rows: Rows) -> None:
    """Raise InputError if an array of this type or shape cannot be labels."""
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


def read_labels(rows: Rows) -> Rows:
    """Return labels [n] in memory as uint8, int32 or texts, with a note if anything was converted.

    `require_labels_form` has checked them. Raise InputError for a number that is not whole, a text that is not valid,
    or a row of one-hot labels without exactly a single 1.
    """
    values, note = _read_texts(rows) if rows.dtype.kind in "US" else _read_numbers(rows)
    return replace(held(rows.name, values), notes=(note,) if note else ())


def _read_numbers(rows: Rows) -> tuple[Values, str]:
    found, first, what = list[Values](), 0, ""
    for values in rows.blocks():
        if values[0].size == 1:
            column = values.reshape(-1)
        else:
            one_hot = ((values == 0) | (values == 1)).all(axis=1) & (np.count_nonzero(values, axis=1) == 1)
            if not first and values.shape[1] == QMNIST_COLUMNS and values.dtype.kind in "iu" and not one_hot.all():
                what = f"the first of {QMNIST_COLUMNS} columns, as in QMNIST"
            elif not what and not one_hot.all():
                place = int(one_hot.argmin())
                received = f"{' '.join(f'{value:.4g}' for value in values[place][:12].tolist())} in row {first + place}"
                hint = "Save one label for each image, [n]: `y.argmax(axis=1)`, if the greatest value is the class."
                expected = "a single 1 in each row of one-hot labels"
                raise InputError(rows.name, expected=expected, received=received, hint=hint)
            column = values[:, 0] if what else values.argmax(axis=1)
        numbers = smallest(column)
        if numbers.dtype not in (np.uint8, np.int32):
            with np.errstate(invalid="ignore"):
                place = int((column.astype(np.int32) != column).argmax())
            expected = "labels that are whole numbers of at most nine digits"
            received = f"{column[place].item()!r} at position {first + place}"
            hint = "Correct it, or leave out this image."
            raise InputError(rows.name, expected=expected, received=received, hint=hint)
        found.append(numbers)
        first += len(values)
    labels = np.concatenate(found)
    if rows.shape[1:] not in ((), (1,)) and not what:
        return labels, f"one-hot {describe(rows.dtype, (None, *rows.shape[1:]))} to the place of the one"
    changed = [f"{rows.dtype} to {labels.dtype}"] if rows.dtype != labels.dtype else []
    return labels, ", ".join([*rows.notes, *changed, *([what] if what else [])]) if changed or what else ""


def _read_texts(rows: Rows) -> tuple[Values, str]:
    decode = np.char.decode if rows.dtype.kind == "S" else np.asarray
    try:
        labels = np.concatenate([decode(values).astype(str).reshape(-1) for values in rows.blocks()])
        different = [str(text) for text in np.unique(labels)]
    except (ValueError, SystemError):  # ValueError for bytes that are not UTF-8, SystemError for invalid characters
        raise InputError(rows.name, "the labels are not valid text", hint="Save them in UTF-8 or as numbers.") from None
    if all(text.isascii() and text.isdecimal() and len(text) < 10 for text in different):
        return labels.astype(np.int32), "texts to whole numbers"
    return labels, ""


# From labels to the numbers of classes


def number_labels(train_rows: Rows, test_rows: Rows) -> Labels:
    """Number the classes of a data set from 0, in the order of its labels. The labels become the names of the classes.

    The labels are in memory, integers or texts [n], n at least 1. Texts that are whole numbers are ordered as numbers:
    '2' before '10'. Raise InputError if a label is negative or not allowed as a name, if there is only one class or
    more than MOST_CLASSES, or if only the test set has a class.
    """
    (train,), (test,) = train_rows.blocks(), test_rows.blocks()
    if (train.dtype.kind in "iu") != (test.dtype.kind in "iu"):
        train, test = train.astype(str), test.astype(str)
    present = np.unique(train)  # not bincount, which takes eight bytes for each label
    texts = [str(label) for label in present]
    _require_classes(train_rows.name, train, present, texts)
    whole = all(text.isdecimal() for text in texts)
    order = sorted(range(len(texts)), key=lambda place: (int(texts[place]) if whole else 0, texts[place]))
    names = [texts[place] for place in order]
    numbers = np.argsort(order).astype(np.uint8)  # of each label in `present`
    numbered_train = _numbers(train_rows.name, train, present, numbers, names)
    return Labels(numbered_train, _numbers(test_rows.name, test, present, numbers, names), names)


def _require_classes(name: str, labels: Values, present: Values, texts: Sequence[str]) -> None:
    """Raise InputError if labels cannot be classes. `present` are the different labels, `texts` the same as texts."""
    if not 2 <= len(texts) <= MOST_CLASSES:
        received, hint = f"label {texts[0]} only", "Add images of another class."
        if len(texts) > 1:
            received = f"{len(texts)} of them: {_listed(texts)}"
            hint = "Check that these are labels, and not numbers of the images or measured values."
        raise InputError(name, expected=f"labels of 2 to {MOST_CLASSES} classes", received=received, hint=hint)
    for label, text in zip(present, texts, strict=True):
        if not is_allowed_name(text) or (text[0] == "-" and text[1:].isdecimal()):  # -1 often means: no class
            place = int(np.argmax(labels == label))
            expected = f"labels that are 0 or more, or texts of 1 to {LONGEST_NAME} characters in one line"
            received = f"{labels[place].item()!r} at position {place}"
            hint = "Correct the label, or leave out this image."
            raise InputError(name, expected=expected, received=received, hint=hint)


def _numbers(name: str, labels: Values, present: Values, numbers: Numbers, names: Sequence[str]) -> Numbers:
    """Return the number of each label. `numbers[k]` is the number of label `present[k]`; `present` is sorted."""
    found = np.empty(len(labels), np.uint8)
    for start in range(0, len(labels), BLOCK):
        block = labels[start : start + BLOCK]
        place = np.minimum(np.searchsorted(present, block), len(present) - 1)
        wrong = np.flatnonzero(present[place] != block)
        if len(wrong):
            expected = f"the classes of the training set: {_listed(names)}"
            hint = "Correct the labels, add training images of this class, or leave its images out of the test set."
            received = f"{block[wrong[0]]} at position {start + wrong[0]}"
            raise InputError(name, expected=expected, received=received, hint=hint)
        found[start : start + len(block)] = numbers[place]
    return found


def _listed(names: Sequence[str]) -> str:
    """Join names with commas. Of more than twelve, show the first and the last."""
    shown = [*names] if len(names) <= 12 else [*names[:6], "...", *names[-2:]]
    return ", ".join(shown)
