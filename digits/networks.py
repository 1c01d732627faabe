"""The networks that `train.model` may name. `digits.params` says what the section of each may hold.

For a third network, add its section to `digits.params` and params.yaml, and a class here, with its name in NETWORKS.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digits.params import ConvnetParams, DenseParams, NetworkParams, TrainParams, read_params
from dvcproof.runtime.program import InputError
from exactkeras.augment import RandomAffine
from exactkeras.recipe import Recipe

if TYPE_CHECKING:
    import keras


#: The most weights of a layer, so that the model file is not larger than the 1 GiB that can be read.
MOST_WEIGHTS = 2**28 - 2**24


class Network(NetworkParams):
    """What a network adds to its section: how it is built and trained."""

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """Build a network from features [n, values of an image] to probabilities [n, classes]."""
        raise NotImplementedError

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        """Raise InputError if images, of height, width and perhaps 3 channels, are too small or too large."""

    def recipe(self, train: TrainParams, image_shape: Sequence[int]) -> Recipe:  # noqa: ARG002 (augmentation needs it)
        """Return the hyperparameters for images of a shape."""
        return Recipe(
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shards=train.shards,
            seed=train.seed,
        )


class Dense(Network, DenseParams):
    """One hidden layer: Keras's first example."""

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        most = MOST_WEIGHTS // (math.prod(image_shape) + 1)
        if self.units > most:
            raise InputError(
                "parameter 'dense.units'",
                expected=f"at most {most} for images of {' x '.join(map(str, image_shape))} values",
                received=str(self.units),
                hint="Change 'dense.units', or make the images smaller.",
            )

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        import keras

        return keras.Sequential(
            [
                keras.Input((math.prod(image_shape),), name="features"),
                keras.layers.Dense(self.units, activation="relu", name="hidden"),
                keras.layers.Dense(classes, activation="softmax", name="probabilities"),
            ],
            name="digits",
        )


#: Side of the smallest image whose four convolutions leave a pixel: 13 -> 7 -> 5 -> 3 -> 1.
LEAST_SIDE = 13


class Convnet(Network, ConvnetParams):
    """Four convolutions, two of which halve the image by a stride, which takes less time than pooling."""

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        if min(image_shape[:2]) < LEAST_SIDE:
            raise InputError(
                "network 'convnet'",
                expected=f"images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels",
                received=f"{image_shape[0]} x {image_shape[1]} pixels",
                hint="Set `train.model` to dense in params.yaml, or enlarge the images.",
            )

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        import keras

        def convolution(times: int, **options: Any) -> keras.layers.Layer:
            filters = self.filters * times
            return keras.layers.Conv2D(filters, activation="relu", kernel_initializer="he_uniform", **options)

        return keras.Sequential(
            [
                keras.Input((math.prod(image_shape),), name="features"),
                keras.layers.Reshape((*image_shape, 1)[:3], name="image"),
                convolution(1, kernel_size=5, strides=2, padding="same", name="strokes"),  # [14, 14]
                convolution(2, kernel_size=3, name="corners"),  # [12, 12]
                convolution(3, kernel_size=3, strides=2, padding="same", name="parts"),  # [6, 6]
                convolution(4, kernel_size=3, name="shapes"),  # [4, 4]
                keras.layers.Flatten(name="values"),
                keras.layers.Dense(classes, activation="softmax", name="probabilities"),
            ],
            name="digits",
        )

    def recipe(self, train: TrainParams, image_shape: Sequence[int]) -> Recipe:
        height, width, channels = (*image_shape, 1)[:3]
        augment = RandomAffine(height, width, self.shift, self.distortion, channels)
        return super().recipe(train, image_shape)._replace(warmup=self.warmup, augment=augment)


NETWORKS: Mapping[str, type[Network]] = {"dense": Dense, "convnet": Convnet}


def read_network(path: Path) -> tuple[TrainParams, Network]:
    """Read the section `train` of params.yaml and that of its network. Raise InputError if one of them is invalid."""
    train = read_params(path, "train").train
    section: NetworkParams = getattr(read_params(path, train.model), train.model)
    return train, NETWORKS[train.model].model_validate(section.model_dump())
