"""The splits train, validation and test: where each is cut, and their files, checked before use."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.classes import require_every_class, require_labels
from digits.data.dataset import Dataset
from digits.data.npy import NpyFile, require_rows, require_same_length
from dvcproof.runtime.program import InputError

#: The splits, each with the set that it is cut from.
SPLITS = {"train": "train", "validation": "train", "test": "test"}


class Split(NamedTuple):
    """One of train, validation and test."""

    features: NpyFile  # float32 [n, height * width] in [0, 1], on disk
    labels: NDArray[np.int32]  # [n] in 0 .. classes-1


def to_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert images, uint8 [n, height, width] from 0 to 255, to features, float32 [n, height * width] from 0 to 1."""
    return np.divide(images.reshape(len(images), math.prod(images.shape[1:])), np.float32(255), dtype=np.float32)


def split_rows(split: str, length: int, validation_size: int) -> tuple[int, int]:
    """Return the first row and the end of a split of a set with `length` rows.

    Validation is the last `validation_size` rows of the training set; training is what is left before it.
    """
    if split == "test":
        return 0, length
    boundary = length - validation_size
    return (0, boundary) if split == "train" else (boundary, length)


def open_split(folder: Path, name: str, dataset: Dataset, *, may_be_empty: bool = False) -> Split:
    """Open `<name>_features.npy` and `<name>_labels.npy`, which `preprocess` wrote into `folder`; check every value.

    Raises:
        InputError: a file is missing or damaged, a feature is not a number in [0, 1], a label is out of range, the
            lengths disagree, a class has no image to train on, or the split is empty and may not be.
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
