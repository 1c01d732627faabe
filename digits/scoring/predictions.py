"""What a model predicts for a whole split, in batches on all cores."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from digits.data.splits import Split
from digits.model import machine
from digits.scoring.metrics import Predictions

if TYPE_CHECKING:
    import keras


def predict(model: "keras.Sequential", split: Split, batch_size: int) -> Predictions:
    """Log-probabilities of every image of a split, the last, shorter batch included.

    Args:
        model: from [n, features] to the probabilities [n, classes].
        split: the images.
        batch_size: images per call of the model.
    """
    import tensorflow as tf

    from digits.model.archive import without_softmax

    logits = without_softmax(model)
    log_probabilities = tf.function(lambda features: tf.nn.log_softmax(logits(features)), reduce_retracing=True)
    count = len(split.features)

    def predict_batch(start: int) -> NDArray[np.float32]:
        return log_probabilities(split.features.rows(start, min(start + batch_size, count))).numpy()

    with ThreadPoolExecutor(machine.cores()) as pool:  # one batch a core: who computes it changes no bit
        parts = list(pool.map(predict_batch, range(0, count, batch_size)))
    return Predictions(np.concatenate(parts), split.labels)
