"""The networks that `train.model` may name. Each is its section of params.yaml: its shape, and how it is trained.

A third network is one more class here, its name in NETWORKS, and a section of that name in params.yaml.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from digits.params import Params, read_params, require_sections
from dvcproof.runtime.program import InputError
from exactkeras.recipe import Recipe
from exactkeras.warp import Warp

if TYPE_CHECKING:
    import keras


#: Weights of the largest layer: a model file of 1 GiB can be read, which is more than the recipes need.
MOST_WEIGHTS = 2**28 - 2**24


class Network(Params):
    """What the sections of all networks share."""

    optimizer: Literal["rmsprop", "adam", "sgd"]
    learning_rate: float = Field(gt=0, le=10)
    epochs: int = Field(ge=1, le=10000)
    batch_size: int = Field(ge=1, le=65536)

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """A new network from features [n, values of an image] to the probabilities [n, classes].

        Args:
            image_shape: height and width of an image, and 3 if it is RGB.
            classes: number of classes.
        """
        raise NotImplementedError

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        """Refuse images that the network cannot take, before it is built.

        Raises:
            InputError: they are too small or too large.
        """

    def recipe(self, train: "Train", image_shape: Sequence[int]) -> Recipe:  # noqa: ARG002 (augmentation needs it)
        """How the network is trained on images of a form, with what all networks share."""
        return Recipe(
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shards=train.shards,
            seed=train.seed,
        )


class Dense(Network):
    """One hidden layer: Keras's first example."""

    units: int = Field(ge=1, le=65536)

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        """Refuse images of too many values for so many units; see `Network.require_image_shape`."""
        most = MOST_WEIGHTS // (math.prod(image_shape) + 1)
        if self.units > most:
            raise InputError(
                "parameter 'dense.units'",
                expected=f"at most {most} for images of {' x '.join(map(str, image_shape))} values",
                received=str(self.units),
                hint="Change 'dense.units', or make the images smaller.",
            )

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """A new network; see `Network.build`."""
        import keras

        return keras.Sequential(
            [
                keras.Input((math.prod(image_shape),), name="features"),
                keras.layers.Dense(self.units, activation="relu", name="hidden"),
                keras.layers.Dense(classes, activation="softmax", name="probabilities"),
            ],
            name="digits",
        )


class Convnet(Network):
    """Four convolutions, of which two halve the image; no pooling and no normalization.

    Convolutions with stride halve an image in less time than pooling does.
    """

    filters: int = Field(ge=1, le=1024)  # of the first convolution; the others have two, three and four times as many
    warmup: float = Field(ge=0, le=1)
    shift: float = Field(ge=0, le=14)
    distortion: float = Field(ge=0, le=0.5)

    def require_image_shape(self, image_shape: Sequence[int]) -> None:
        """Refuse images of which some layer leaves nothing; see `Network.require_image_shape`."""
        side, lost = min(image_shape[:2]), ""
        for name, halves in (("strokes", True), ("corners", False), ("parts", True), ("shapes", False)):
            side = -(-side // 2) if halves else side - 2
            lost = lost or (name if side < 1 else "")
        if lost:
            raise InputError(
                "network 'convnet'",
                expected=f"images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels",
                received=f"{image_shape[0]} x {image_shape[1]} pixels, of which its layer '{lost}' would leave nothing",
                hint="Set `train.model` to dense in params.yaml, or enlarge the images.",
            )

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """A new network; see `Network.build`."""
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

    def recipe(self, train: "Train", image_shape: Sequence[int]) -> Recipe:
        """How the network is trained on images of a form, with what all networks share."""
        height, width, channels = (*image_shape, 1)[:3]
        warp = Warp(height, width, self.shift, self.distortion, channels)
        return super().recipe(train, image_shape)._replace(warmup=self.warmup, warp=warp)


#: Side of the smallest image of which the convnet's four layers leave a pixel: 13 -> 7 -> 5 -> 3 -> 1.
LEAST_SIDE = 13

NETWORKS: Mapping[str, type[Network]] = {"dense": Dense, "convnet": Convnet}


def _known(name: str) -> str:
    if name not in NETWORKS:
        raise ValueError(repr(name))
    return name


class Train(Params):
    """The section `train` of params.yaml: what all networks share."""

    model: Annotated[str, AfterValidator(_known), Field(description="one of " + ", ".join(map(repr, NETWORKS)))]
    seed: int = Field(ge=0, lt=2**32)
    shards: int = Field(ge=1, le=64)
    device: Literal["cpu", "gpu"]


def read_network(path: Path) -> tuple[Train, Network]:
    """Read the section `train` of params.yaml, and the section of the network that it names.

    Raises:
        InputError: as `read_params` does, or the file has a section that belongs to no stage and no network.
    """
    require_sections(path, NETWORKS)
    train = read_params(path, "train", Train)
    return train, read_params(path, train.model, NETWORKS[train.model])
