"""How much an image is like the training images: a network names a class for anything, even for what is no digit."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import NpyFile
from digits.data.dataset import Dataset

#: Images that are brought to the coarse form at a time.
BLOCK = 4096


class Neighbours:
    """The training images, coarsely, to look for those that are most like another image."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        """Read the training images that `load` wrote.

        Args:
            folder: with train_images.npy and train_labels.npy.
            dataset: what they are.

        Raises:
            InputError: a file is missing or damaged.
        """
        images = NpyFile(folder / "train_images.npy", dtype="uint8", shape=(None, *dataset.image_shape)).read()
        labels = NpyFile(folder / "train_labels.npy", dtype="uint8", shape=(None,)).read()
        parts = [self._coarse(images[start : start + BLOCK]) for start in range(0, len(images), BLOCK)]
        order = np.argsort(labels, kind="stable")
        self._images = np.concatenate(parts)[order]
        self._starts = np.searchsorted(labels[order], np.arange(len(dataset.classes)))

    def similarity(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The cosine of the angle between an image and the training image of each class that is most like it.

        Args:
            images: uint8 [n, height, width] or [n, height, width, 3].

        Returns:
            [n, classes] in [0, 1].
        """
        products = self._coarse(images) @ self._images.T  # (n, training images)
        return np.maximum.reduceat(products, self._starts, axis=1)

    @staticmethod
    def _coarse(images: NDArray[np.generic]) -> NDArray[np.float32]:
        """Sums of 2 x 2 pixels, as vectors of length 1: a shift by a pixel then matters little."""
        down, right = (range(0, side, 2) for side in images.shape[1:3])
        sums = np.add.reduceat(np.add.reduceat(images, down, 1, np.float32), right, 2)
        vectors = sums.reshape(len(images), -1)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)
