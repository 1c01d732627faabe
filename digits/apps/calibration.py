"""Measure the calibration of a model: how well its probabilities agree with its accuracy.

After C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks (ICML 2017), section 2.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.scoring.metrics import Predictions

#: The number of intervals of confidence, as in the experiments of Guo et al. (2017).
BINS = 15


class Bin(NamedTuple):
    """The images whose predicted class has a probability in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float  # mean probability of the predicted class; 0 without images
    accuracy: float  # fraction of these images that are classified correctly; 0 without images


def probabilities(predictions: Predictions) -> NDArray[np.float64]:
    """Return the probability of each class for each image: [n, classes], in [0, 1]."""
    return np.exp(np.minimum(predictions.log_probabilities.astype(np.float64), 0.0))


def reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Sort images into intervals of confidence, which are equally wide, open on the left and closed on the right.

    `confidences`, [n] in (0, 1], are the probabilities of the predicted classes; `right`, [n], says which are right.
    """
    edges = np.arange(bins + 1) / bins
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    means = [np.bincount(places, values, bins) / np.maximum(counts, 1) for values in (confidences, right)]
    columns = (column.tolist() for column in (edges[:-1], edges[1:], counts, *means))
    return [Bin(*row) for row in zip(*columns, strict=True)]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: the mean |accuracy - confidence| over images (Guo et al., equation 3)."""
    total = math.fsum(one.images * abs(one.accuracy - one.confidence) for one in bins)
    return total / sum(one.images for one in bins)


def brier(predictions: Predictions) -> float:
    """Return the mean squared distance between probabilities and truth, from 0 (perfect) to 2.

    G. W. Brier, Verification of Forecasts Expressed in Terms of Probability (Monthly Weather Review, 1950), equation 2.
    This score needs no bins. A model cannot lower it with probabilities other than those that it estimates.
    """
    truth = np.eye(predictions.log_probabilities.shape[1])[predictions.labels]
    return math.fsum(((probabilities(predictions) - truth) ** 2).sum(axis=1).tolist()) / len(predictions.labels)
