"""Compute scores of a classifier from its log-probabilities. Counts and sums are exact, so no order changes them."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """The predictions of a model for n images, and the labels of these images."""

    log_probabilities: NDArray[np.float32]  # [n, classes]
    labels: NDArray[np.int32]  # [n]

    @property
    def classes(self) -> NDArray[np.intp]:
        """The most probable class of each image: [n]."""
        return self.log_probabilities.argmax(axis=1)

    @property
    def losses(self) -> NDArray[np.float32]:
        """Cross-entropy of each image, [n]: minus the logarithm of the probability of its label."""
        return -self.log_probabilities[np.arange(len(self.labels)), self.labels]


class ClassScores(NamedTuple):
    """Scores of one class, as in C. J. van Rijsbergen, Information Retrieval (1979), chapter 7."""

    label: int
    precision: float  # the fraction of the images predicted as this class that are correct
    recall: float  # the fraction of the images of this class that are predicted as this class
    images: int


def accuracy(predictions: Predictions) -> float:
    """Return the fraction of the images whose most probable class is their label."""
    return int((predictions.classes == predictions.labels).sum()) / len(predictions.labels)


def loss(predictions: Predictions) -> float:
    """Return the mean cross-entropy, in nats."""
    return math.fsum(predictions.losses.tolist()) / len(predictions.labels)


def confusion_matrix(predictions: Predictions) -> NDArray[np.intp]:
    """Count the images of each class (row) predicted as each class (column): [classes, classes]."""
    classes = predictions.log_probabilities.shape[1]
    pairs = predictions.labels * classes + predictions.classes
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: NDArray[np.intp]) -> list[ClassScores]:
    """Return the scores of each class. Precision is 0 if the class is never predicted, recall is 0 without images."""
    counts = zip(matrix.diagonal().tolist(), matrix.sum(axis=0).tolist(), matrix.sum(axis=1).tolist(), strict=True)
    return [
        ClassScores(label, right / max(1, predicted), right / max(1, images), images)
        for label, (right, predicted, images) in enumerate(counts)
    ]


def worst(predictions: Predictions, count: int) -> NDArray[np.intp]:
    """Return the row numbers of at most `count` misclassified images: those with the greatest loss, worst first."""
    wrong = np.flatnonzero(predictions.classes != predictions.labels)
    return wrong[np.argsort(-predictions.losses[wrong], kind="stable")][:count]
