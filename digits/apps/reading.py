"""Predict images with the trained model: the class, its probability, and whether the model is unsure.

Images are uint8 [n, height, width] or [n, height, width, 3].
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from digits.data.classes import name_classes, numbered
from digits.data.dataset import Dataset, read_dataset
from digits.data.npy import NpyFile
from digits.data.splits import to_features
from digits.params import read_params
from exactkeras import determinism

#: The number of images that are classified at a time, and of training images that are reduced at a time.
BATCH, BLOCK = 16, 4096

#: A reading is unsure if its probability is below the first limit, or if the most similar training image has another
#: class or a similarity below the second limit. `make study NAME=pictures` measures their effect: docs/pictures.md.
LEAST_PROBABILITY = 0.9
LEAST_SIMILARITY = 0.87

#: Rotations in degrees, and slopes of slant, as people write. If a variation changes the class of a digit, the reading
#: is doubtful.
ROTATIONS = (-10, -5, 5, 10)
SLANTS = (-0.2, -0.1, 0.1, 0.2)


class Classifier(NamedTuple):
    """A trained model that maps images to probabilities."""

    names: Sequence[str]  # of the classes
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float64]]  # images [n, ...] -> probabilities [n, classes]


class Reading(NamedTuple):
    """The prediction of the model for one image."""

    predicted: str  # the most probable class
    probability: float  # of this class
    probabilities: dict[str, float]  # by the name of the class
    unsure: bool


class Neighbours:
    """The training images at half the resolution, sorted by class, for comparison with other images."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        """Read the training images in the folder that `load` wrote. Raise InputError if a file is damaged."""
        images = NpyFile(folder / "train_images.npy", dtype="uint8", shape=(None, *dataset.image_shape)).read()
        labels = NpyFile(folder / "train_labels.npy", dtype="uint8", shape=(None,)).read()
        order = np.argsort(labels, kind="stable")
        parts = [_reduced(images[start : start + BLOCK]) for start in range(0, len(images), BLOCK)]
        self._images = np.concatenate(parts)[order]
        self._starts = np.searchsorted(labels[order], np.arange(len(dataset.classes)))

    def similarity(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the cosine of the angle to the most similar training image of each class, [n, classes] in [0, 1]."""
        return np.maximum.reduceat(_reduced(images) @ self._images.T, self._starts, axis=1)


class Reader(NamedTuple):
    """A model and the data set that it was trained on."""

    classifier: Classifier
    dataset: Dataset
    neighbours: Neighbours | None  # None for a data set without strokes

    def read(self, images: NDArray[np.uint8]) -> list[Reading]:
        """Predict images in the form of the data set. For strokes, average the probabilities over `variations`."""
        names = self.classifier.names
        versions = variations(images) if self.dataset.form else images[np.newaxis]
        rows = self.classifier.probabilities(versions.reshape(-1, *images.shape[1:]))
        rows = rows.reshape(len(versions), len(images), len(names)).mean(axis=0)
        unsure = rows.max(axis=1) < LEAST_PROBABILITY
        if self.neighbours is not None:
            similarity = self.neighbours.similarity(images)
            unsure |= similarity.max(axis=1) < LEAST_SIMILARITY
            unsure |= similarity.argmax(axis=1) != rows.argmax(axis=1)
        found = zip(rows.argmax(axis=1).tolist(), rows.tolist(), unsure.tolist(), strict=True)
        return [Reading(names[k], row[k], dict(zip(names, row, strict=True)), doubt) for k, row, doubt in found]


def open_reader(model: Path, dataset: Path, params: Path | None = None) -> Reader:
    """Open a .keras file and the training images beside dataset.json.

    The classes have the names in params.yaml, or, without it, those in dataset.json. Raise InputError if a file is
    missing or damaged, if the model is for other images, or if the number of names is wrong.
    """
    facts = read_dataset(dataset)
    names = read_params(params, "class_names").class_names if params else None
    classifier = open_classifier(model, names or facts.classes, features=math.prod(facts.image_shape))
    return Reader(classifier, facts, Neighbours(dataset.parent, facts) if facts.form else None)


def open_classifier(path: Path, names: Sequence[str] | None = None, *, features: int | None = None) -> Classifier:
    """Open a .keras file. `names` are its classes (None: '0', '1', ...), `features` the values of an image (None: any).

    Raise InputError as `open_reader` does.
    """
    determinism.configure(seed=0)
    from exactkeras import archive
    from exactkeras.fit import log_probabilities

    model = archive.load(path, features=features, hint="Run `make repro` to train one.")
    logarithms = log_probabilities(model, BATCH)

    def probabilities(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        features = to_features(images)
        parts = [logarithms(features[start : start + BATCH]) for start in range(0, len(features), BATCH)]
        return np.exp(np.concatenate(parts).astype(np.float64))

    return Classifier(name_classes(names, numbered(model.output_shape[1])), probabilities)


def variations(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images, light on dark, and variations of them, slightly rotated or slanted: [versions, n, ...]."""
    turns = [((math.cos(one), -math.sin(one)), (math.sin(one), math.cos(one))) for one in np.deg2rad(ROTATIONS)]
    slants = [((1, 0), (slope, 1)) for slope in SLANTS]
    middle = np.array(images.shape[1:]) / 2
    versions = [images]
    for change in turns + slants:
        matrix = np.eye(images.ndim - 1)  # channels stay as they are
        matrix[:2, :2] = change
        shift = middle - matrix @ middle
        versions.append(np.array([ndimage.affine_transform(image, matrix, shift, order=1) for image in images]))
    return np.stack(versions)


def _reduced(images: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return images as vectors of length 1, from sums of 2 x 2 pixels: a shift by a pixel changes these little."""
    down, right = (range(0, side, 2) for side in images.shape[1:3])
    sums = np.add.reduceat(np.add.reduceat(images, down, 1, np.float32), right, 2)
    vectors = sums.reshape(len(images), -1)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)
