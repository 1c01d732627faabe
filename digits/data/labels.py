"""Labels and classes: number the labels of a data set, check them, and name the classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError

#: Labels are uint8.
MOST_CLASSES = 256
LONGEST_NAME = 40

#: Labels that are numbered at a time: NumPy's search takes eight bytes for each.
BLOCK = 2**16

Values = NDArray[np.generic]
Numbers = NDArray[np.uint8]


def is_allowed_name(name: str) -> bool:
    """Say whether a class may have this name."""
    return bool(name.strip()) and name.isprintable() and len(name) <= LONGEST_NAME


class Labels(NamedTuple):
    """The labels of both sets as numbers."""

    train: Numbers  # [n] in 0 .. classes-1
    test: Numbers  # [m], the same
    names: list[str]  # of the classes, in the order of their numbers: the labels that the data set has

    @property
    def notes(self) -> list[str]:
        """Return a line that says how the labels were numbered; nothing if they counted from 0 without a gap."""
        if self.names == numbered(len(self.names)):
            return []
        return [f"labels: {_listed(self.names)} numbered from 0 to {len(self.names) - 1}"]


def number_labels(train: Values, test: Values, *, train_name: str, test_name: str) -> Labels:
    """Number the classes of a data set from 0 on, in the order of its labels, and keep the labels as their names.

    Labels are integers or texts [n], n at least 1 for training; texts that are whole numbers are ordered as numbers,
    '2' before '10'. Messages call them `train_name` and `test_name`. InputError is raised for a negative label or a
    name that is not allowed, for one class or more than MOST_CLASSES, and for a class that only the test set has.
    """
    if (train.dtype.kind in "iu") != (test.dtype.kind in "iu"):
        train, test = train.astype(str), test.astype(str)
    present = np.unique(train)  # not bincount, which takes eight bytes for each label
    texts = [str(label) for label in present]
    _require_classes(train_name, train, present, texts)
    whole = all(text.isdecimal() for text in texts)
    order = sorted(range(len(texts)), key=lambda place: (int(texts[place]) if whole else 0, texts[place]))
    names = [texts[place] for place in order]
    numbers = np.argsort(order).astype(np.uint8)  # of each label in `present`
    numbered_train = _numbers(train_name, train, present, numbers, names)
    return Labels(numbered_train, _numbers(test_name, test, present, numbers, names), names)


def _require_classes(name: str, labels: Values, present: Values, texts: Sequence[str]) -> None:
    """Refuse labels that cannot be classes; `present` are the different ones, and `texts` these as texts."""
    if not 2 <= len(texts) <= MOST_CLASSES:
        received, hint = f"label {texts[0]} only", "Add images of another class."
        if len(texts) > 1:
            received = f"{len(texts)} of them: {_listed(texts)}"
            hint = "Check that these are labels, and not numbers of the images or measured values."
        raise InputError(name, expected=f"labels of 2 to {MOST_CLASSES} classes", received=received, hint=hint)
    for label, text in zip(present, texts, strict=True):
        if not is_allowed_name(text) or (text[0] == "-" and text[1:].isdecimal()):  # -1 often marks what has no class
            place = int(np.argmax(labels == label))
            expected = f"labels that are 0 or more, or texts of 1 to {LONGEST_NAME} characters in one line"
            received = f"{labels[place].item()!r} at position {place}"
            hint = "Correct the label, or leave out this image."
            raise InputError(name, expected=expected, received=received, hint=hint)


def _numbers(name: str, labels: Values, present: Values, numbers: Numbers, names: Sequence[str]) -> Numbers:
    """Return for each label its entry of `numbers`, which belong to the sorted labels `present`."""
    found = np.empty(len(labels), np.uint8)
    for start in range(0, len(labels), BLOCK):
        block = labels[start : start + BLOCK]
        place = np.minimum(np.searchsorted(present, block), len(present) - 1)
        wrong = np.flatnonzero(present[place] != block)
        if len(wrong):
            expected = f"the classes of the training set: {_listed(names)}"
            hint = "Correct the labels, give this class images to train on, or leave its images out of the test set."
            received = f"{block[wrong[0]]} at position {start + wrong[0]}"
            raise InputError(name, expected=expected, received=received, hint=hint)
        found[start : start + len(block)] = numbers[place]
    return found


def _listed(names: Sequence[str]) -> str:
    """Join names, all of a few, else the first and the last."""
    shown = [*names] if len(names) <= 12 else [*names[:6], "...", *names[-2:]]
    return ", ".join(shown)


def require_labels(name: str, labels: Values, classes: int) -> None:
    """Raise InputError if a label, uint8 [n], is not in 0 .. classes-1."""
    wrong = np.flatnonzero(np.greater_equal(labels, classes))
    if len(wrong):
        expected = f"labels from 0 to {classes - 1}, the classes of the training set"
        received = f"{labels[wrong[0]]} at position {wrong[0]}"
        hint = "Correct the labels, or give this class images to train on."
        raise InputError(name, expected=expected, received=received, hint=hint)


def require_every_class(name: str, labels: Values, classes: int) -> None:
    """Raise InputError if a class has no image to train on: a validation split may have taken its last one."""
    absent = np.setdiff1d(np.arange(classes), labels)
    if len(absent):
        expected, received = f"images of every class from 0 to {classes - 1}", f"none of class {absent[0]}"
        hint = "Keep back fewer images for validation, or give this class images to train on."
        raise InputError(name, expected=expected, received=received, hint=hint)


def name_classes(names: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """Return the user's names of the classes, in the order of their labels; None stands for the default ones.

    Raises InputError if there are not as many names as classes.
    """
    if names is not None and len(names) != len(default):
        expected = f"{len(default)} names, one for each of the labels 0 to {len(default) - 1}"
        hint = "Name every class, or set 'class_names' to null in params.yaml."
        raise InputError("parameter 'class_names'", expected=expected, received=f"{len(names)} names", hint=hint)
    return list(default if names is None else names)


def numbered(classes: int) -> list[str]:
    """Return the labels themselves as names: '0', '1', ..."""
    return [str(label) for label in range(classes)]
