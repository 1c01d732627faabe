"""Features and labels of one split, as `preprocess` wrote them, checked before they are used."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.arrays import NpyFile, require_rows, require_same_length
from stages.classes import count_classes, require_labels
from stages.console import InputError


class Split(NamedTuple):
    """One of train, validation and test."""

    features: NpyFile  # [n, 784] float32 in [0, 1], on disk
    labels: NDArray[np.int32]  # [n] in 0 .. classes-1
    classes: int  # of the training set


def open_split(folder: Path, name: str, *, classes: int | None = None, may_be_empty: bool = False) -> Split:
    """Open `<name>_features.npy` and `<name>_labels.npy` and check every value.

    Args:
        folder: what `preprocess` wrote.
        name: train, validation or test.
        classes: how many the training set has; None for the training set itself, whose labels say it.
        may_be_empty: whether no rows are all right.

    Raises:
        InputError: a file is missing or damaged, a feature is not a number in [0, 1], a label is out of range, a class
            of the training set has no images, the lengths disagree, or the split is empty and may not be.
    """
    features = NpyFile(folder / f"{name}_features.npy", dtype="float32", shape=(None, 784))
    labels = NpyFile(folder / f"{name}_labels.npy", dtype="uint8", shape=(None,))
    require_same_length(f"{features.path} and {labels.path}", len(features), len(labels))
    if not may_be_empty:
        require_rows(str(features.path), len(features))
    values = labels.rows(0, len(labels))
    if classes is None:
        classes = count_classes(str(labels.path), values)
    require_labels(str(labels.path), values, classes)
    for block in features.blocks():
        if not (block.min() >= 0 and block.max() <= 1):  # also False for NaN
            raise InputError(
                str(features.path),
                expected="numbers in [0, 1]",
                received=f"values from {block.min()} to {block.max()}",
                hint="Run `dvc repro` to write it again.",
            )
    return Split(features, values.astype(np.int32), classes)
