"""The splits train, validation and test: choose their images, and open their files."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.classes import require_every_class, require_labels
from digits.data.dataset import Dataset
from digits.data.npy import NpyFile, require_rows, require_same_length
from dvcproof.runtime.program import InputError

SPLITS = ("train", "validation", "test")


class Split(NamedTuple):
    """The data of one split: train, validation or test."""

    features: NpyFile  # float32 [n, height * width] in [0, 1], on disk
    labels: NDArray[np.int32]  # [n] in 0 .. classes-1


def to_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert images, uint8 [n, height, width] from 0 to 255, to features, float32 [n, height * width] from 0 to 1."""
    return np.divide(images.reshape(len(images), math.prod(images.shape[1:])), np.float32(255), dtype=np.float32)


def choose_validation(labels: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Choose `count` images of the training set for validation: the last, or as `spread` does if these are not fair.

    The last images are not a fair sample if the set is sorted by its labels, for example. They count as unfair if a
    class is more than five standard deviations from its share, or is absent though its share is ten images or more, or
    would lose all its images to validation. In a shuffled set this hardly ever happens by chance.

    Return a mask of the labels, True for the chosen images. Raise InputError as `spread` does.
    """
    last = np.arange(len(labels)) >= len(labels) - count
    whole, kept = (np.bincount(part, minlength=int(labels.max()) + 1) for part in (labels, labels[last]))
    share = whole * (count / len(labels))
    far = np.abs(kept - share) > np.maximum(share / 2, 5 * np.sqrt(np.maximum(share, 1)))
    absent = ((kept == 0) & (share >= 10)) | ((kept == whole) & (whole > 0))
    return spread(labels, count, "preprocess.validation_size") if (far | absent).any() else last


def spread(labels: NDArray[Any], count: int, parameter: str) -> NDArray[np.bool_]:
    """Choose `count` images to keep back from training. Each class gives its share, but never its first image.

    The images of a class are spread evenly over all images of this class. Return a mask of the labels, True for the
    chosen images. Raise InputError, which names `parameter`, if a class would have no image left to train on.
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    order = order[1:][ordered[1:] == ordered[:-1]]
    if count > len(order):
        expected = f"at most {len(order)}, so that each class keeps an image to train on"
        hint = f"Set `{parameter}` to a smaller number in params.yaml."
        raise InputError(f"parameter '{parameter}'", expected=expected, received=str(count), hint=hint)
    chosen = np.zeros(len(labels), bool)
    chosen[order[(2 * np.arange(count) + 1) * len(order) // (2 * count)]] = True
    return chosen


def masked(blocks: Iterable[NDArray[Any]], mask: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Yield the rows that a mask chooses, from the consecutive blocks of an array."""
    first = 0
    for block in blocks:
        yield block[mask[first : first + len(block)]]
        first += len(block)


def open_split(folder: Path, name: str, dataset: Dataset, *, may_be_empty: bool = False) -> Split:
    """Open `<name>_features.npy` and `<name>_labels.npy`, which `preprocess` wrote into `folder`. Check every value.

    Raise InputError if a file is missing or damaged, a value is out of range, the numbers of features and labels
    differ, a class has no image to train on, or the split is empty though `may_be_empty` is False.
    """
    features = NpyFile(folder / f"{name}_features.npy", dtype="float32", shape=(None, math.prod(dataset.image_shape)))
    labels = NpyFile(folder / f"{name}_labels.npy", dtype="uint8", shape=(None,))
    require_same_length(f"{features.path} and {labels.path}", len(features), len(labels))
    if not may_be_empty:
        require_rows(str(features.path), len(features))
    values = labels.rows(0, len(labels))
    require_labels(str(labels.path), values, len(dataset.classes))
    if name == "train":
        require_every_class(str(labels.path), values, len(dataset.classes))
    for block in features.blocks():
        if not (block.min() >= 0 and block.max() <= 1):  # also False for NaN
            received = f"values from {block.min()} to {block.max()}"
            hint = "Run `dvc repro` to write it again."
            raise InputError(str(features.path), expected="numbers in [0, 1]", received=received, hint=hint)
    return Split(features, values.astype(np.int32))
