"""The classes of a data set: their names, and checks of labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError

#: The most classes, since labels are uint8; and the most characters of a class name.
MOST_CLASSES = 256
LONGEST_NAME = 40


def is_allowed_name(name: str) -> bool:
    """Return whether a class may have this name."""
    return bool(name.strip()) and name.isprintable() and len(name) <= LONGEST_NAME


def numbered(classes: int) -> list[str]:
    """Return the labels themselves as names: '0', '1', ..."""
    return [str(label) for label in range(classes)]


def name_classes(names: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """Return the user's names of the classes, in the order of their labels, or the default names if `names` is None.

    Raises InputError if there are not as many names as classes.
    """
    if names is not None and len(names) != len(default):
        expected = f"{len(default)} names, one for each of the labels 0 to {len(default) - 1}"
        hint = "Name every class, or set 'class_names' to null in params.yaml."
        raise InputError("parameter 'class_names'", expected=expected, received=f"{len(names)} names", hint=hint)
    return list(default if names is None else names)


def require_labels(name: str, labels: NDArray[Any], classes: int) -> None:
    """Raise InputError if one of the labels, uint8 [n], is not in 0 .. classes-1."""
    wrong = np.flatnonzero(np.greater_equal(labels, classes))
    if len(wrong):
        expected = f"labels from 0 to {classes - 1}, the classes of the training set"
        received = f"{labels[wrong[0]]} at position {wrong[0]}"
        hint = "Correct the labels, or add training images of this class."
        raise InputError(name, expected=expected, received=received, hint=hint)


def require_every_class(name: str, labels: NDArray[Any], classes: int) -> None:
    """Raise InputError if a class has no image to train on: the validation split may have taken its last image."""
    absent = np.setdiff1d(np.arange(classes), labels)
    if len(absent):
        expected, received = f"images of every class from 0 to {classes - 1}", f"none of class {absent[0]}"
        hint = "Hold out fewer images for validation, or add training images of this class."
        raise InputError(name, expected=expected, received=received, hint=hint)
