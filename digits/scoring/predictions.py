"""What a model predicts for a whole split, in batches on all cores."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from digits.common import machine
from digits.data.splits import Split
from digits.scoring.metrics import Predictions

#: Values that the largest layer works on at a time, on each core. Fewer rows change no bit.
VALUES = 2**25

if TYPE_CHECKING:
    import keras


def predict(model: "keras.Sequential", split: Split, batch_size: int) -> Predictions:
    """Log-probabilities of every image of a split, the last, shorter batch included.

    Args:
        model: from [n, features] to the probabilities [n, classes].
        split: the images.
        batch_size: images per call of the model; of large images it takes fewer.
    """
    from digits.model.fit import log_probabilities, rows_at_a_time

    count = len(split.features)
    rows = rows_at_a_time(model, min(batch_size, count), VALUES)
    log_probabilities_of = log_probabilities(model, rows)

    def predict_batch(start: int) -> NDArray[np.float32]:
        return log_probabilities_of(split.features.rows(start, min(start + rows, count)))

    log_probabilities_of(split.features.rows(0, 1))  # traced once, before several threads ask for it
    with ThreadPoolExecutor(machine.cores()) as pool:  # one batch a core: who computes it changes no bit
        parts = list(pool.map(predict_batch, range(0, count, rows)))
    return Predictions(np.concatenate(parts), split.labels)
