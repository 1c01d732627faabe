"""What the model reads in an image, how probable it is, and when to say that it is unsure."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from digits.apps.neighbours import Neighbours
from digits.data.dataset import Dataset, read_dataset
from digits.data.labels import name_classes, numbered
from digits.data.splits import to_features
from exactkeras import determinism

#: Pictures that are classified at a time.
PICTURES = 16

#: A reading is unsure if its probability is lower than this, or if the training image most like the digit is of another
#: class or not as similar as this. What the two come to is measured by `make study NAME=pictures`: docs/pictures.md.
LEAST_PROBABILITY = 0.9
LEAST_SIMILARITY = 0.87

#: Degrees of rotation and slopes of slant: people write so, and a digit that is read otherwise then is a doubtful one.
ROTATIONS = (-10, -5, 5, 10)
SLANTS = (-0.2, -0.1, 0.1, 0.2)


class Classifier(NamedTuple):
    """A trained model, from images to probabilities."""

    names: Sequence[str]  # of the classes
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float64]]  # of n images to [n, classes]


class Reading(NamedTuple):
    """What the model reads in one image."""

    probabilities: dict[str, float]  # by the name of the class
    unsure: bool

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return self.probabilities[self.predicted]


class Reader(NamedTuple):
    """A model, with what is known of the data set that it was trained on."""

    classifier: Classifier
    dataset: Dataset
    neighbours: Neighbours | None  # None: things fill the images, and there is no telling

    def read(self, images: NDArray[np.uint8]) -> list[Reading]:
        """Read images in the form of the data set: the mean over small changes of the image, if it is of strokes.

        Args:
            images: uint8 [n, height, width] or [n, height, width, 3].
        """
        versions = variations(images) if self.dataset.form else images[np.newaxis]
        shape = len(versions), len(images), len(self.classifier.names)
        rows = self.classifier.probabilities(versions.reshape(-1, *images.shape[1:])).reshape(shape).mean(axis=0)
        unsure = rows.max(axis=1) < LEAST_PROBABILITY
        if self.neighbours is not None:
            best, alike = rows.argmax(axis=1), self.neighbours.similarity(images)
            unsure |= (alike.max(axis=1) < LEAST_SIMILARITY) | (alike.argmax(axis=1) != best)
        names = self.classifier.names
        return [
            Reading(dict(zip(names, row, strict=True)), bool(doubt))
            for row, doubt in zip(rows.tolist(), unsure, strict=True)
        ]


def open_reader(model: Path, dataset: Path, names: Sequence[str] | None = None) -> Reader:
    """Open a trained model and what `load` wrote of its data set.

    Args:
        model: the .keras file.
        dataset: dataset.json, with the training images beside it.
        names: of the classes, in the order of the labels. None: as in dataset.json.

    Raises:
        InputError: a file is missing or damaged, the model is for other images, or there are not as many names as
            classes.
    """
    facts = read_dataset(dataset)
    classifier = open_classifier(model, names or facts.classes, features=math.prod(facts.image_shape))
    return Reader(classifier, facts, Neighbours(dataset.parent, facts) if facts.form else None)


def open_classifier(path: Path, names: Sequence[str] | None = None, *, features: int | None = None) -> Classifier:
    """Open a trained model.

    Args:
        path: the .keras file.
        names: of the classes, in the order of the labels. None: 0, 1, 2, ...
        features: how many values its images must have; None for any number.

    Raises:
        InputError: the file is missing or damaged, the model is not from [n, features] to [n, classes], or there are
            not as many names as classes.
    """
    determinism.configure(seed=0)
    from exactkeras import archive
    from exactkeras.fit import log_probabilities

    model = archive.load(path, features=features)
    logarithms = log_probabilities(model, PICTURES)

    def probabilities(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        features = to_features(images)
        parts = [logarithms(features[start : start + PICTURES]) for start in range(0, len(features), PICTURES)]
        return np.exp(np.concatenate(parts).astype(np.float64))

    return Classifier(name_classes(names, numbered(model.output_shape[1])), probabilities)


def variations(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images, and each a little rotated and slanted about its middle.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3], light ink on dark.

    Returns:
        uint8 [versions, n, height, width] or [versions, n, height, width, 3].
    """
    turns = [
        ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))) for angle in np.deg2rad(ROTATIONS)
    ]
    slants = [((1, 0), (slope, 1)) for slope in SLANTS]
    middle = np.array(images.shape[1:]) / 2
    versions = [images]
    for change in turns + slants:
        matrix = np.eye(images.ndim - 1)  # channels stay as they are
        matrix[:2, :2] = change
        shift = middle - matrix @ middle
        versions.append(np.array([ndimage.affine_transform(image, matrix, shift, order=1) for image in images]))
    return np.stack(versions)
