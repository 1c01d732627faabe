"""The networks that `train.model` may name. `digits.params` defines the section of each network in params.yaml.

To add a network, add its section to `digits.params` and to params.yaml, and add a class here and its name to NETWORKS.
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


#: The most weights of a layer. With more, the model file could exceed 1 GiB, the most that `archive.load` reads.
MOST_WEIGHTS = 2**28 - 2**24


class Network(NetworkParams):
    """The section of a network, with methods to build and train this network."""

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """Build a network from features [n, values of an image] to probabilities [n, classes]."""
        raise NotImplementedError

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        """Raise InputError if images are too small or too large: (height, width), or (height, width, 3)."""

    def recipe(self, train: TrainParams, image_shape: Sequence[int]) -> Recipe:  # noqa: ARG002 (augmentation needs it)
        """Return the hyperparameters for images of this shape."""
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


#: Side of the smallest image that leaves at least one pixel after four convolutions: 13 -> 7 -> 5 -> 3 -> 1.
LEAST_SIDE = 13


class Convnet(Network, ConvnetParams):
    """Four convolutions. Two of them halve the image with a stride, which takes less time than pooling."""

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
    """Read two sections of params.yaml: `train`, and that of its network. Raise InputError if one is invalid."""
    train = read_params(path, "train").train
    section: NetworkParams = getattr(read_params(path, train.model), train.model)
    return train, NETWORKS[train.model].model_validate(section.model_dump())
