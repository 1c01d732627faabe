"""Predict whole splits with a model, in batches on all cores."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from digits.data.dataset import Dataset
from digits.data.splits import Split
from digits.scoring.metrics import Predictions
from dvcproof.runtime import machine
from exactkeras import determinism
from exactkeras.augment import View, itself

#: The most values that the largest layer works on at a time, on each core. It limits the rows of a batch, which change
#: no bit.
VALUES = 2**25

if TYPE_CHECKING:
    import keras


def open_model(path: Path, dataset: Dataset) -> "keras.Sequential":
    """Open a model, and set TensorFlow up for it. Raise InputError if it is damaged, or not for this data set."""
    determinism.configure(seed=0)
    from exactkeras import archive

    features, hint = math.prod(dataset.image_shape), "Run `make repro` to train one."
    return archive.load(path, features=features, classes=len(dataset.classes), hint=hint)


def predict(
    model: "keras.Sequential", splits: Sequence[Split], batch_size: int, views: Sequence[View] = (itself,)
) -> list[Predictions]:
    """Return the log-probabilities of every image of each split. No split may be empty.

    A call of the model, which maps [n, features] to probabilities [n, classes], takes `batch_size` images, or fewer if
    its layers are large. Its logits are averaged over augmented views of each image.
    """
    from exactkeras.fit import log_probabilities, rows_at_a_time

    rows = rows_at_a_time(model, min(batch_size, max(len(split.labels) for split in splits)), VALUES)
    log_probabilities_of = log_probabilities(model, rows, views)
    log_probabilities_of(splits[0].features.rows(0, 1))  # so that it is traced once, before several threads call it

    def predict_split(split: Split, pool: ThreadPoolExecutor) -> Predictions:
        def predict_batch(start: int) -> NDArray[np.float32]:
            return log_probabilities_of(split.features.rows(start, min(start + rows, count)))

        count = len(split.labels)
        return Predictions(np.concatenate([*pool.map(predict_batch, range(0, count, rows))]), split.labels)

    with ThreadPoolExecutor(machine.cores()) as pool:  # one batch per core: which core computes it changes no bit
        return [predict_split(split, pool) for split in splits]
