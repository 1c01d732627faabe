"""Layers that replace those of Keras: same shapes and weights, but computed in the defined arithmetic."""

from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras import arithmetic
from exactkeras.convolution import Places, convolution


class Dense(keras.layers.Layer):
    """`keras.layers.Dense` in the defined arithmetic. Its kernel is stored in pieces, one for each chain.

    So each piece has its own product, gradient and update. They run in parallel and stay in the processor's cache.
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

    def set_weights(self, weights: list[NDArray[np.float32]]) -> None:
        """Set the weights from the kernel and the bias of a `keras.layers.Dense`."""
        kernel, bias = weights
        bounds = np.cumsum([piece.shape[0] for piece in self.kernels])[:-1]
        super().set_weights([*np.split(kernel, bounds), bias])

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return the kernel and the bias for a `keras.layers.Dense`."""
        *pieces, bias = super().get_weights()
        return [np.concatenate(pieces), bias]


class Convolution(keras.layers.Layer):
    """`keras.layers.Conv2D` in the defined arithmetic."""

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


def defined(network: keras.Sequential) -> list[keras.layers.Layer]:
    """Return layers in the defined arithmetic, from features to logits, with the weights of `network`.

    Args:
        network: layers of the kinds Dense, Conv2D, Reshape and Flatten; the last is a Dense with softmax.

    Raises:
        InputError: the network or a layer has no defined arithmetic.
    """
    if type(network) is not keras.Sequential:
        found = f"a {type(network).__name__} has no defined arithmetic"
        raise InputError(f"network '{network.name}'", found, hint="Build a keras.Sequential of the same layers.")
    layers, shape = [], network.input_shape
    for layer in network.layers:
        own = _counterpart(layer, len(shape), last=layer is network.layers[-1])
        own.build(shape)
        shape = own.compute_output_shape(shape)
        own.trainable = layer.trainable
        own.set_weights(layer.get_weights())
        layers.append(own)
    return layers


def _counterpart(layer: keras.layers.Layer, axes: int, *, last: bool) -> keras.layers.Layer:
    """Return a layer that computes the same in the defined arithmetic, from inputs with `axes` axes."""
    kind = type(layer)  # not isinstance: a subclass may compute something else
    if kind is keras.layers.Dense and axes == 2 and _is_defined(layer, last=last):
        return Dense(layer.units, keras.activations.linear if last else layer.activation)
    if kind is keras.layers.Conv2D and not last and _is_defined(layer, last=False):
        if (layer.dilation_rate, layer.groups, layer.data_format) == ((1, 1), 1, "channels_last"):
            return Convolution(layer)
    elif kind in (keras.layers.Reshape, keras.layers.Flatten) and not last:
        return kind.from_config(layer.get_config())
    raise InputError(
        f"layer '{layer.name}'",
        f"this {kind.__name__} has no defined arithmetic",
        hint="Use Reshape, Flatten, and Dense or Conv2D of float32 with a bias and no activation or 'relu'. The last"
        " layer must be a Dense with 'softmax'.",
    )


def _is_defined(layer: keras.layers.Dense | keras.layers.Conv2D, *, last: bool) -> bool:
    """Return whether a layer has a bias, float32, a defined activation, and no regularizer, constraint or adapter."""
    allowed = ("softmax",) if last else ("linear", "relu")
    names = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
    more = any(getattr(layer, name) for name in (*names, "lora_enabled"))
    known = layer.activation in [getattr(keras.activations, name) for name in allowed]
    types = {layer.variable_dtype, layer.compute_dtype}
    return layer.use_bias and known and types == {"float32"} and not more


def copy_back(layers: list[keras.layers.Layer], network: keras.Sequential) -> None:
    """Copy the weights of `defined(network)` back into the network."""
    for layer, own in zip(network.layers, layers, strict=True):
        layer.set_weights(own.get_weights())
