"""The layers of a plain Keras network, in the defined arithmetic: same shapes, same weights, other kernels."""

from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras import arithmetic
from exactkeras.convolution import Places, convolution

Weights = list[NDArray[np.float32]]


class Dense(keras.layers.Layer):
    """What `keras.layers.Dense` computes. Its kernel is kept in the pieces that the definition cuts it into.

    So each piece has a product, a gradient and an update of its own, which run in parallel and stay in the cache.
    """

    def __init__(self, units: int, activation: Any) -> None:
        super().__init__()
        self.units, self.activation = units, activation

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        cut = arithmetic.lengths(cast(int, input_shape[-1]))
        self.kernels = [self.add_weight(shape=(length, self.units), name=f"kernel_{k}") for k, length in enumerate(cut)]
        self.bias = self.add_weight(shape=(self.units,), name="bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        bias, *kernels = (tf.convert_to_tensor(weight) for weight in (self.bias, *self.kernels))
        return self.activation(arithmetic.dense(inputs, bias, *kernels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def take(self, weights: Weights) -> None:
        """Set the weights from those of a `keras.layers.Dense`: kernel and bias."""
        kernel, bias = weights
        bounds = np.cumsum([piece.shape[0] for piece in self.kernels])[:-1]
        self.set_weights([*np.split(kernel, bounds), bias])

    def give(self) -> Weights:
        """The weights for a `keras.layers.Dense`."""
        *pieces, bias = self.get_weights()
        return [np.concatenate(pieces), bias]


class Convolution(keras.layers.Layer):
    """What `keras.layers.Conv2D` computes."""

    def __init__(self, like: keras.layers.Conv2D) -> None:
        super().__init__()
        self.filters, self.activation = like.filters, like.activation
        self.geometry = (like.kernel_size, like.strides, like.padding)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        _, height, width, channels = input_shape
        self.places = Places((cast(int, height), cast(int, width)), *self.geometry)
        self.kernel = self.add_weight(shape=(*self.places.kernel, channels, self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, bias = (tf.convert_to_tensor(weight) for weight in (self.kernel, self.bias))
        return self.activation(convolution(inputs, kernel, bias, self.places))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.places.output, self.filters)

    def take(self, weights: Weights) -> None:
        """Set the weights from those of a `keras.layers.Conv2D`: kernel and bias."""
        self.set_weights(weights)

    def give(self) -> Weights:
        """The weights for a `keras.layers.Conv2D`."""
        return self.get_weights()


def defined(network: keras.Sequential) -> list[keras.layers.Layer]:
    """Layers in the defined arithmetic, from features to logits, with the weights of `network`.

    Args:
        network: Dense, Conv2D, Reshape and Flatten, from features to probabilities by softmax.

    Raises:
        InputError: a layer has no defined arithmetic.
    """
    layers, shape = [], network.input_shape
    for layer in network.layers:
        own = _counterpart(layer, len(shape), last=layer is network.layers[-1])
        own.build(shape)
        shape = own.compute_output_shape(shape)
        own.trainable = layer.trainable
        if layer.weights:
            own.take(layer.get_weights())
        layers.append(own)
    return layers


def _counterpart(layer: keras.layers.Layer, axes: int, *, last: bool) -> keras.layers.Layer:
    """The layer that computes the same in the defined arithmetic, from inputs of so many axes."""
    if isinstance(layer, keras.layers.Dense) and axes == 2 and _plain(layer, last=last):
        return Dense(layer.units, keras.activations.linear if last else layer.activation)
    if isinstance(layer, keras.layers.Conv2D) and not last and _plain(layer, last=False):
        if (layer.dilation_rate, layer.groups, layer.data_format) == ((1, 1), 1, "channels_last"):
            return Convolution(layer)
    elif isinstance(layer, keras.layers.Reshape | keras.layers.Flatten) and not last:
        return type(layer).from_config(layer.get_config())
    raise InputError(
        f"layer '{layer.name}'",
        expected="Reshape, Flatten, or Dense or Conv2D with a bias and no activation or 'relu', and a last Dense with"
        " 'softmax'",
        received=f"a {type(layer).__name__} of another form",
        hint="Only these have a defined arithmetic: see docs/reproducibility.md.",
    )


def _plain(layer: keras.layers.Dense | keras.layers.Conv2D, *, last: bool) -> bool:
    """Whether a layer has a bias, an activation that is defined, and nothing that penalizes or bounds its weights."""
    allowed = ("softmax",) if last else ("linear", "relu")
    more = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    known = layer.activation in [getattr(keras.activations, name) for name in allowed]
    return layer.use_bias and known and all(getattr(layer, name) is None for name in more)


def copy_back(layers: list[keras.layers.Layer], network: keras.Sequential) -> None:
    """Give the weights of `defined(network)` back to the network."""
    for layer, own in zip(network.layers, layers, strict=True):
        if layer.weights:
            layer.set_weights(own.give())
