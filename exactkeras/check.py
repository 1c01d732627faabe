"""Before a training: does this machine compute the defined arithmetic, in the shapes of this very network?

TensorFlow's products, and the optimizers' own kernels, are compared with a chain of exact fused multiply-adds in NumPy,
at the edges of each shape and in a sample of its middle. Everything else is single operations, which IEEE 754 defines.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exactkeras import arithmetic, convolution, layers
from exactkeras.chain import F, adam, chain, rmsprop
from exactkeras.fit import validation_rows
from exactkeras.recipe import Recipe

#: Rows and columns that are looked at on each side of each edge, and as many drawn from the middle.
EDGE = 8


class Shape(NamedTuple):
    """A product of the network: [m, k] and [k, n], and which of the two is stored transposed."""

    rows: int
    inner: int
    columns: int
    transpose_a: bool = False
    transpose_b: bool = False


def deviations(network: keras.Sequential, recipe: Recipe, images: int) -> list[str]:
    """Why this machine may give other bits than the defined ones. Empty: the bytes must be equal.

    Args:
        network: what will be trained.
        recipe: how.
        images: of the training set.
    """
    batch = min(recipe.batch_size, images)
    part = arithmetic.rounded_up(batch, recipe.shards) // recipe.shards
    every = {*shapes(network, part), *shapes(network, validation_rows(network), forward_only=True)}
    found = [deviation(shape) for shape in sorted(every)]
    return [reason for reason in (*found, optimizer_deviation(recipe.optimizer)) if reason]


def shapes(network: keras.Sequential, rows: int, *, forward_only: bool = False) -> Iterator[Shape]:
    """Every product of a step of the training, or of a prediction alone, on so many rows."""
    for layer in layers.defined(network):
        if isinstance(layer, layers.Dense):
            found = dense_shapes([kernel.shape[0] for kernel in layer.kernels], layer.units, rows)
        elif isinstance(layer, layers.Convolution):
            found = convolution_shapes(layer, rows)
        else:
            continue
        yield from (shape for shape in found if not forward_only or not (shape.transpose_a or shape.transpose_b))


def dense_shapes(cut: list[int], units: int, rows: int) -> Iterator[Shape]:
    """Those of a dense layer."""
    for length in cut:
        yield Shape(rows, length, units)
        for inner in arithmetic.lengths(rows):
            yield Shape(length, inner, units, transpose_a=True)
        for inner in arithmetic.lengths(units):
            yield Shape(rows, inner, length, transpose_b=True)


def convolution_shapes(layer: layers.Convolution, rows: int) -> Iterator[Shape]:
    """Those of a convolution."""
    places, (height, width, channels, filters) = layer.places, layer.kernel.shape
    rows *= math.prod(places.output)
    for count in convolution.kernel_lengths(height * width, channels):
        for inner in arithmetic.lengths(count * channels):
            yield Shape(rows, inner, filters)
    patches = convolution.patch_values(height * width, channels) * channels
    for inner in arithmetic.lengths(rows):
        m, n = (filters, patches) if convolution.changes_places(patches, filters) else (patches, filters)
        yield Shape(m, inner, n, transpose_a=True)
    for inner in arithmetic.lengths(filters):
        yield Shape(rows, inner, width * channels, transpose_b=True)


def deviation(shape: Shape) -> str:
    """How a product leaves the chain on this machine; empty if it does not."""
    random = np.random.default_rng(0)
    values = random.standard_normal(10007, np.float32)  # a prime: no two rows are alike
    a, b = np.resize(values, (shape.rows, shape.inner)), np.resize(values[::-1], (shape.inner, shape.columns))
    stored = (a.T.copy() if shape.transpose_a else a, b.T.copy() if shape.transpose_b else b)
    got = arithmetic.chains(*map(tf.constant, stored), transpose_a=shape.transpose_a, transpose_b=shape.transpose_b)
    rows, columns = looked_at(shape.rows, random), looked_at(shape.columns, random)
    wrong = int((got.numpy()[np.ix_(rows, columns)] != chain(a[rows], b[:, columns])).sum())
    if not wrong:
        return ""
    return f"{wrong} of {len(rows) * len(columns)} elements of a product {tuple(shape[:3])} are not the defined chain"


def looked_at(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The first and last numbers below `count`, and some between them."""
    everything = np.arange(count)
    if count <= 3 * EDGE:
        return everything
    middle = np.sort(random.choice(count - 2 * EDGE, EDGE, replace=False)) + EDGE
    return np.concatenate([everything[:EDGE], middle, everything[-EDGE:]])


def optimizer_deviation(name: str) -> str:
    """How the optimizer's kernel leaves its formula on this machine; empty if it does not."""
    if name not in ("rmsprop", "adam"):
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
    else:
        powers = {"beta1_power": F(0.9) * F(0.9), "beta2_power": F(0.999) * F(0.999)}
        tf.raw_ops.ResourceApplyAdam(
            var=weight, m=first, v=second, lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-7, grad=g, **powers
        )
        expected = adam([m, v, F(0.9), F(0.999)], start, g, F(1e-3))
    wrong = int((variables[0].numpy() != expected).sum())
    return f"{wrong} of {len(w)} weights after a step of {name} are not the defined ones" if wrong else ""
