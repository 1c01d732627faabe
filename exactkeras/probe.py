"""Check before each training that this machine computes the defined arithmetic, in the shapes of this network.

TensorFlow's products and the optimizers' kernels are compared with `exactkeras.oracle`: at the edges of each product,
and in a sample of its middle. All other operations are single operations, which IEEE 754 defines.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exactkeras import arithmetic, convolution, layers
from exactkeras.fit import validation_rows
from exactkeras.oracle import F, adam, chain, rmsprop
from exactkeras.recipe import Recipe

#: Rows and columns that are compared at each edge. As many are drawn from the middle.
EDGE = 8


class Shape(NamedTuple):
    """The shape of a product of [m, k] and [k, n]. Either factor may be stored transposed."""

    rows: int
    inner: int
    columns: int
    transpose_a: bool = False
    transpose_b: bool = False


def deviations(network: keras.Sequential, recipe: Recipe, images: int) -> list[str]:
    """Return the reasons why a training on this machine may give other bits than the definition; empty: no reason."""
    batch = min(recipe.batch_size, images)
    part = arithmetic.rounded_up(batch, recipe.shards) // recipe.shards
    forward = (shape for shape in shapes(network, validation_rows(network)) if not any(shape[3:]))
    found = [deviation(shape) for shape in sorted({*shapes(network, part), *forward})]
    return [reason for reason in (*found, optimizer_deviation(recipe.optimizer)) if reason]


def shapes(network: keras.Sequential, rows: int) -> Iterator[Shape]:
    """Yield every product of a training step on `rows` rows. The products of a prediction have no transposed factor."""
    for layer in layers.defined(network):
        if isinstance(layer, layers.Dense):
            yield from _dense_shapes([kernel.shape[0] for kernel in layer.kernels], layer.units, rows)
        elif isinstance(layer, layers.Convolution):
            yield from _convolution_shapes(layer, rows)


def _dense_shapes(cut: list[int], units: int, rows: int) -> Iterator[Shape]:
    for length in cut:
        yield Shape(rows, length, units)
        for inner in arithmetic.lengths(rows):
            yield Shape(length, inner, units, transpose_a=True)
        for inner in arithmetic.lengths(units):
            yield Shape(rows, inner, length, transpose_b=True)


def _convolution_shapes(layer: layers.Convolution, rows: int) -> Iterator[Shape]:
    places, (height, width, channels, filters) = layer.places, layer.kernel.shape
    rows *= math.prod(places.output)
    for count in convolution.kernel_lengths(height * width, channels):
        for inner in arithmetic.lengths(count * channels):
            yield Shape(rows, inner, filters)
    patches = convolution.patch_values(height * width, channels) * channels
    for inner in arithmetic.lengths(rows):
        m, n = (filters, patches) if convolution.swaps_factors(patches, filters) else (patches, filters)
        yield Shape(m, inner, n, transpose_a=True)
    for inner in arithmetic.lengths(filters):
        yield Shape(rows, inner, width * channels, transpose_b=True)


def deviation(shape: Shape) -> str:
    """Describe how a product on this machine differs from the defined chains. Return '' if it does not."""
    random = np.random.default_rng(0)
    values = random.standard_normal(10007, np.float32)  # the length is a prime number, so no two rows are alike
    a, b = np.resize(values, (shape.rows, shape.inner)), np.resize(values[::-1], (shape.inner, shape.columns))
    stored = (a.T.copy() if shape.transpose_a else a, b.T.copy() if shape.transpose_b else b)
    got = arithmetic.chains(*map(tf.constant, stored), transpose_a=shape.transpose_a, transpose_b=shape.transpose_b)
    rows, columns = sample(shape.rows, random), sample(shape.columns, random)
    wrong = int((got.numpy()[np.ix_(rows, columns)] != chain(a[rows], b[:, columns])).sum())
    if not wrong:
        return ""
    return f"{wrong} of {len(rows) * len(columns)} elements of a product {tuple(shape[:3])} are not the defined chain"


def sample(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the first and last numbers below `count`, and some between them."""
    everything = np.arange(count)
    if count <= 3 * EDGE:
        return everything
    middle = np.sort(random.choice(count - 2 * EDGE, EDGE, replace=False)) + EDGE
    return np.concatenate([everything[:EDGE], middle, everything[-EDGE:]])


def optimizer_deviation(name: str) -> str:
    """Describe how the optimizer's kernel on this machine differs from its formula. Return '' if not."""
    if name == "sgd":  # Keras's own, which has no kernel
        return ""
    random = np.random.default_rng(1)
    w, g, m = (random.standard_normal(1003, np.float32) for _ in range(3))
    v, start = g * g * F(0.3), w.copy()
    variables = [tf.Variable(value) for value in (w, m, v)]
    weight, first, second = (variable.handle for variable in variables)
    if name == "rmsprop":
        tf.raw_ops.ResourceApplyRMSProp(
            var=weight, ms=second, mom=tf.Variable(0 * w).handle, lr=1e-3, rho=0.9, momentum=0.0, epsilon=1e-7, grad=g
        )
        expected = rmsprop([v], start, g, F(1e-3))
    elif name == "adam":
        powers = {"beta1_power": F(0.9) * F(0.9), "beta2_power": F(0.999) * F(0.999)}
        tf.raw_ops.ResourceApplyAdam(
            var=weight, m=first, v=second, lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-7, grad=g, **powers
        )
        expected = adam([m, v, F(0.9), F(0.999)], start, g, F(1e-3))
    else:
        raise ValueError(f"the optimizer '{name}' has no formula to compare with")
    wrong = int((variables[0].numpy() != expected).sum())
    return f"{wrong} of {len(w)} weights after a step of {name} are not the defined ones" if wrong else ""
