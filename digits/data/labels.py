"""Labels and classes: the numbers that labels get, which classes there are, and what these are called."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from dvcproof.runtime.program import InputError

#: Labels are uint8.
MOST_CLASSES = 256
LONGEST_NAME = 40

#: Labels that are numbered at a time: their places take eight bytes each.
BLOCK = 2**16


def _allowed_names(names: list[str]) -> list[str]:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} of them")
    for name in names:
        if not _allowed_name(name):
            raise ValueError(repr(name))
        if names.count(name) > 1:
            raise ValueError(f"{name!r} twice")
    return names


def _allowed_name(name: str) -> bool:
    return bool(name.strip()) and name.isprintable() and len(name) <= LONGEST_NAME


#: The shared value `class_names` of params.yaml.
ClassNames = Annotated[
    Annotated[list[str], AfterValidator(_allowed_names)] | None,
    Field(
        description=f"null or a list of 2 to {MOST_CLASSES} different names, each a text of 1 to {LONGEST_NAME} "
        "characters in one line, in quotes if it is a number"
    ),
]


class Labels(NamedTuple):
    """The labels of both sets as numbers."""

    train: NDArray[np.uint8]  # [n] in 0 .. classes-1
    test: NDArray[np.uint8]  # [m], the same
    names: list[str]  # of the classes, in the order of their numbers: the labels that the data set has

    def of(self, name: str) -> NDArray[np.uint8]:
        """Those of a set, 'train' or 'test'."""
        return self.train if name == "train" else self.test

    @property
    def notes(self) -> list[str]:
        """What was done to the labels, a line each; nothing if they counted from 0 without a gap."""
        if self.names == numbered(len(self.names)):
            return []
        return [f"labels: {_listed(self.names)} numbered from 0 to {len(self.names) - 1}"]


def number_labels(
    train: NDArray[np.generic],
    test: NDArray[np.generic],
    *,
    train_name: str = "the training labels",
    test_name: str = "the test labels",
) -> Labels:
    """Number the classes of a data set from 0 on, in the order of its labels, and keep these as the names.

    Texts that are whole numbers are ordered by these: '2' comes before '10'.

    Args:
        train: integers or texts, [n], n at least 1.
        test: the same, [m].
        train_name: what they are called in messages.
        test_name: the same.

    Raises:
        InputError: a label is negative or no allowed name, there is one class or more than MOST_CLASSES of them, or the
            test set has a class that the training set lacks.
    """
    if (train.dtype.kind in "iu") != (test.dtype.kind in "iu"):
        train, test = train.astype(str), test.astype(str)
    present = np.unique(train)  # not bincount, which takes eight bytes for each label
    texts = [str(label) for label in present]
    _require_classes(train_name, train, present, texts)
    order = _order(texts)
    names = [texts[place] for place in order]
    numbers = np.argsort(order).astype(np.uint8)  # of each label in `present`
    found = [
        _numbers(name, labels, present, numbers, names) for name, labels in ((train_name, train), (test_name, test))
    ]
    return Labels(found[0], found[1], names)


def _require_classes(
    name: str, labels: NDArray[np.generic], present: NDArray[np.generic], texts: Sequence[str]
) -> None:
    """Refuse labels that cannot be classes; `present` are the different ones, and `texts` these as texts."""
    if not 2 <= len(texts) <= MOST_CLASSES:
        raise InputError(
            name,
            expected=f"labels of 2 to {MOST_CLASSES} classes",
            received=f"label {texts[0]} only" if len(texts) == 1 else f"{len(texts)} of them: {_listed(texts)}",
            hint="Add images of another class."
            if len(texts) == 1
            else "Check that these are labels, and not numbers of the images or measured values.",
        )
    for label, text in zip(present, texts, strict=True):
        if not _allowed_name(text) or (text[0] == "-" and text[1:].isdecimal()):  # -1 often marks what has no class
            place = int(np.argmax(labels == label))
            raise InputError(
                name,
                expected=f"labels that are 0 or more, or texts of 1 to {LONGEST_NAME} characters in one line",
                received=f"{labels[place].item()!r} at position {place}",
                hint="Correct the label, or leave out this image.",
            )


def _order(texts: Sequence[str]) -> list[int]:
    """The places of texts in the order of their classes."""
    whole = all(text.isdecimal() for text in texts)
    return sorted(range(len(texts)), key=lambda place: (int(texts[place]) if whole else 0, texts[place]))


def _numbers(
    name: str,
    labels: NDArray[np.generic],
    present: NDArray[np.generic],
    numbers: NDArray[np.uint8],
    names: Sequence[str],
) -> NDArray[np.uint8]:
    """The number of each label.

    Args:
        name: what the labels are called in messages.
        labels: [n].
        present: those of the training set, each once, in order.
        numbers: of these.
        names: of the classes, for messages.

    Raises:
        InputError: a label is not among `present`.
    """
    found = np.empty(len(labels), np.uint8)
    for start, block in _blocks(labels):
        place = np.minimum(np.searchsorted(present, block), len(present) - 1)
        wrong = np.flatnonzero(present[place] != block)
        if len(wrong):
            raise InputError(
                name,
                expected=f"the classes of the training set: {_listed(names)}",
                received=f"{block[wrong[0]]} at position {start + wrong[0]}",
                hint="Correct the labels, give this class images to train on, or leave its images out of the test set.",
            )
        found[start : start + len(block)] = numbers[place]
    return found


def _blocks(labels: NDArray[np.generic]) -> Iterator[tuple[int, NDArray[np.generic]]]:
    for start in range(0, len(labels), BLOCK):
        yield start, labels[start : start + BLOCK]


def _listed(names: Sequence[str]) -> str:
    """Names in a line, all or the first and the last of many."""
    shown = [*names] if len(names) <= 12 else [*names[:6], "...", *names[-2:]]
    return ", ".join(shown)


def require_labels(name: str, labels: NDArray[np.generic], classes: int) -> None:
    """Refuse labels of classes that the training set does not have.

    Args:
        name: what the labels are called in the message.
        labels: uint8 [n].
        classes: how many there are.

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
        classes: how many there are.

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
