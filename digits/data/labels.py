"""Labels and classes: how many classes the labels name, and what the classes are called."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from digits.common.cli import InputError

#: Labels are uint8.
MOST_CLASSES = 256
LONGEST_NAME = 40


def _allowed_names(names: list[str]) -> list[str]:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} of them")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ValueError(repr(name))
        if names.count(name) > 1:
            raise ValueError(f"{name!r} twice")
    return names


#: The shared value `class_names` of params.yaml.
ClassNames = Annotated[
    Annotated[list[str], AfterValidator(_allowed_names)] | None,
    Field(
        description=f"null or a list of 2 to {MOST_CLASSES} different names, each a text of 1 to {LONGEST_NAME} "
        "characters in one line, in quotes if it is a number"
    ),
]


def count_classes(name: str, labels: NDArray[np.generic]) -> int:
    """How many classes there are: one more than the greatest label of a training set.

    Args:
        name: what the labels are called in the message.
        labels: uint8 [n], n at least 1.

    Raises:
        InputError: there is only one class, or one below the greatest label has no image.
    """
    present = np.unique(labels)  # not bincount, which takes eight bytes for each label
    greatest = int(present[-1])
    absent = np.setdiff1d(np.arange(greatest), present)
    if not greatest or len(absent):
        raise InputError(
            name,
            expected=f"images of every class from 0 to {max(1, greatest)}",
            received=f"none of class {absent[0] if len(absent) else 1}"
            + (f", and label {greatest} at position {labels.argmax()}" if len(absent) else ""),
            hint="Give each class images to train on, and number the classes from 0 without a gap.",
        )
    return greatest + 1


def require_labels(name: str, labels: NDArray[np.generic], classes: int) -> None:
    """Refuse labels of classes that the training set does not have.

    Args:
        name: what the labels are called in the message.
        labels: uint8 [n].
        classes: as `count_classes` counts them.

    Raises:
        InputError: a label is not in 0 .. classes-1; the first such one is named.
    """
    wrong = np.flatnonzero(np.greater_equal(labels, classes))
    if len(wrong):
        raise InputError(
            name,
            expected=f"labels from 0 to {classes - 1}, the classes of the training set",
            received=f"{labels[wrong[0]]} at position {wrong[0]}",
            hint="Correct the labels, or give this class images to train on.",
        )


def require_every_class(name: str, labels: NDArray[np.generic], classes: int) -> None:
    """Refuse to train without an image of some class: a validation split may have taken the last one.

    Args:
        name: what the labels are called in the message.
        labels: uint8 [n].
        classes: as `count_classes` counts them.

    Raises:
        InputError: a class has no label; the first such one is named.
    """
    absent = np.setdiff1d(np.arange(classes), labels)
    if len(absent):
        raise InputError(
            name,
            expected=f"images of every class from 0 to {classes - 1}",
            received=f"none of class {absent[0]}",
            hint="Keep back fewer images for validation, or give this class images to train on.",
        )


def name_classes(names: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """The names of the classes, in the order of their labels.

    Args:
        names: what the user calls them; None for the default.
        default: the names that the data set, or else the model, has: one for each class.

    Raises:
        InputError: there are not as many names as classes.
    """
    if names is not None and len(names) != len(default):
        raise InputError(
            "parameter 'class_names'",
            expected=f"{len(default)} names, one for each of the labels 0 to {len(default) - 1}",
            received=f"{len(names)} names",
            hint="Name every class, or set 'class_names' to null in params.yaml.",
        )
    return list(default if names is None else names)


def numbered(classes: int) -> list[str]:
    """The labels themselves as names: '0', '1', ..."""
    return [str(label) for label in range(classes)]
