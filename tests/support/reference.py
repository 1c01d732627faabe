"""A second implementation of the training in NumPy, from the definition: slow, with TensorFlow's random generators.

The order of the images and the numbers for the augmentation come from TensorFlow, since they follow from integers.
Products, and steps of RMSprop and Adam, come from `exactkeras.oracle`, which the library's own probe also uses; tests
compare the oracle with exact fractions and with Keras's steps. Everything else is implemented here a second time.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactkeras.augment import RandomAffine
from exactkeras.oracle import F, Floats, adam, chain, flushed, rmsprop
from exactkeras.recipe import Recipe

#: The number of terms in the longest chain.
LONGEST = 168


def cut(count: int) -> list[tuple[int, int]]:
    """Return starts and ends of the chains of an inner dimension: as few as possible, with lengths divisible by 24."""
    chains = math.ceil(count / LONGEST)
    length = 24 * math.ceil(count / chains / 24)
    return [(start, min(start + length, count)) for start in range(0, count, length)]


def cut_kernel(values: int, channels: int) -> list[tuple[int, int]]:
    """Cut a convolution's inner dimension between values of the kernel, then cut each piece as `cut` does."""
    parts = math.ceil(values / max(1, LONGEST // channels))
    each = math.ceil(values / parts)
    pieces = [(start * channels, min(start + each, values) * channels) for start in range(0, values, each)]
    return [(first + start, first + stop) for first, last in pieces for start, stop in cut(last - first)]


def product(a: Floats, b: Floats, pieces: Sequence[tuple[int, int]] | None = None) -> Floats:
    """Return the product of two matrices: chains are added in order."""
    terms = [chain(a[:, start:stop], b[start:stop]) for start, stop in pieces or cut(a.shape[1])]
    return added(terms)


def added(terms: Sequence[Floats]) -> Floats:
    """Return the sum of arrays, added one after the other."""
    return functools.reduce(lambda total, term: flushed(total + term), terms)


def fold(rows: Floats) -> Floats:
    """Sum over the first axis: add the second half to the first, until one row is left."""
    while len(rows) > 1:
        half = len(rows) // 2
        middle = rows[half : len(rows) - half]
        rows = np.concatenate([flushed(rows[:half] + rows[len(rows) - half :]), middle])
    return rows[0]


HIGH, LOW = F(355 / 512), F(math.log(2) - 355 / 512)


def polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    value = np.full_like(x, F(coefficients[0]))
    for coefficient in coefficients[1:]:
        value = flushed(value * x) + F(coefficient)
    return value


def exponential(x: Floats) -> Floats:
    """Compute e**x for x <= 0."""
    x = np.maximum(x, F(-88))
    n = np.floor(x * F(1 / math.log(2)) + F(0.5))
    rest = (x - n * HIGH) - n * LOW
    value = polynomial([1 / math.factorial(power) for power in range(7, -1, -1)], rest)
    return np.where(x < F(-87), F(0), value * np.ldexp(F(1), n.astype(np.int32)))


def logarithm(x: Floats) -> Floats:
    """Compute log(x) for x > 0."""
    m, n = np.frexp(x)  # m in [0.5, 1), float32
    small = m < np.uint32(0x3F3504F3).view(np.float32)
    m, exponent = np.where(small, m * F(2), m).astype(np.float32), np.where(small, n - 1, n).astype(np.float32)
    t: Floats = np.divide(m - F(1), m + F(1), dtype=np.float32)
    return exponent * HIGH + (polynomial([2 / power for power in (9, 7, 5, 3, 1)], t * t) * t + exponent * LOW)


def loss(logits: Floats, labels: NDArray[np.int32], weights: Floats) -> tuple[Floats, Floats]:
    """Return weighted losses [n] and the gradient of the logits [n, classes]."""
    scores = logits.T - logits.max(axis=1)
    powers = exponential(scores)
    total = fold(powers)
    targets = (np.arange(logits.shape[1])[:, None] == labels).astype(np.float32)
    losses = -((scores - logarithm(total)) * targets).sum(axis=0)
    return flushed(losses * weights), flushed((flushed(powers / total) - targets) * weights).T


def log_probabilities(logits: Floats) -> Floats:
    scores = logits.T - logits.max(axis=1)
    return (scores - logarithm(fold(exponential(scores)))).T


class Dense:
    """A dense layer: weights [features, units] and [units]. The subclass for convolutions has other rows."""

    def __init__(self, kernel: Floats, bias: Floats, *, relu: bool) -> None:
        self.weights, self.relu, self.pieces = [kernel, bias], relu, cut(kernel.shape[0])

    def rows(self, inputs: Floats) -> Floats:
        """Return the rows that are multiplied by the kernel."""
        return inputs

    def back(self, rows: Floats) -> Floats:
        """Return the gradient of the inputs from the gradient of the rows."""
        return rows

    def forward(self, inputs: Floats) -> Floats:
        kernel, bias = self.weights
        self.multiplied = self.rows(inputs)
        values = flushed(product(self.multiplied, kernel.reshape(-1, len(bias)), self.pieces) + bias)
        self.outputs = np.maximum(values, F(0)) if self.relu else values
        return self.outputs

    def backward(self, upstream: Floats) -> tuple[Floats, list[Floats]]:
        """Return the gradient of the inputs, and the gradients of the weights."""
        kernel, bias = self.weights
        upstream = upstream.reshape(self.outputs.shape)
        if self.relu:
            upstream = upstream * (self.outputs > 0)
        gradients = [product(self.multiplied.T, upstream).reshape(kernel.shape), fold(upstream)]
        return self.back(product(upstream, kernel.reshape(-1, len(bias)).T)), gradients


class Convolution(Dense):
    """A convolution: weights [kernel height, kernel width, channels, filters] and [filters]."""

    def __init__(
        self, kernel: Floats, bias: Floats, image: Sequence[int], *, strides: Sequence[int], same: bool, relu: bool
    ) -> None:
        super().__init__(kernel, bias, relu=relu)
        self.image, self.strides, self.size, channels = image, strides, kernel.shape[:2], kernel.shape[2]
        self.pieces = cut_kernel(math.prod(self.size), channels)
        self.out, self.before, self.wide = list[int](), list[int](), list[int]()
        for side, size, step in zip(image, self.size, strides, strict=True):
            out = math.ceil(side / step) if same else (side - size) // step + 1
            self.out.append(out)
            self.before.append(max(0, (out - 1) * step + size - side) // 2 if same else 0)
            self.wide.append(out * step + size + side)  # no kernel reaches beyond these zeros around an image
        self.wide.append(channels)

    def forward(self, images: Floats) -> Floats:
        return super().forward(images).reshape(len(images), *self.out, -1)

    def rows(self, images: Floats) -> Floats:
        """Return the patch at each place of the kernel: [n * places, kernel height * kernel width * channels]."""
        (top, left), (height, width) = self.before, self.image
        wide = np.zeros((len(images), *self.wide), np.float32)
        wide[:, top : top + height, left : left + width] = images.reshape(len(images), height, width, -1)
        patches = np.empty((len(wide), *self.out, *self.size, self.wide[2]), np.float32)
        for y, x in itertools.product(*map(range, self.out)):
            top, left = y * self.strides[0], x * self.strides[1]
            patches[:, y, x] = wide[:, top : top + self.size[0], left : left + self.size[1]]
        return patches.reshape(len(wide) * math.prod(self.out), -1)

    def back(self, patches: Floats) -> Floats:
        """Add patches back: over the kernel's rows in order, then over its columns in order."""
        (out_y, out_x), (step_y, step_x), (top, left) = self.out, self.strides, self.before
        met = patches.reshape(-1, *self.out, *self.size, self.wide[2])
        rows = np.zeros((len(met), self.wide[0], out_x, self.size[1], self.wide[2]), np.float32)
        for row in range(self.size[0]):
            places = slice(row, row + out_y * step_y, step_y)
            rows[:, places] = flushed(rows[:, places] + met[:, :, :, row])
        images = np.zeros((len(met), *self.wide), np.float32)
        for column in range(self.size[1]):
            places = slice(column, column + out_x * step_x, step_x)
            images[:, :, places] = flushed(images[:, :, places] + rows[:, :, :, column])
        return images[:, top : top + self.image[0], left : left + self.image[1]]


def layers_of(network: Any) -> list[Any]:
    """Return the Dense and Convolution layers of a `keras.Sequential`, with its weights."""
    import keras

    layers: list[Any] = []
    for layer in network.layers:
        relu = getattr(layer, "activation", None) is keras.activations.relu
        if isinstance(layer, keras.layers.Dense):
            layers.append(Dense(*layer.get_weights(), relu=relu))
        elif isinstance(layer, keras.layers.Conv2D):
            same, image = layer.padding == "same", layer.input.shape[1:3]
            kernel, bias = layer.get_weights()
            layers.append(Convolution(kernel, bias, image, strides=layer.strides, same=same, relu=relu))
    return layers


def sgd(_: list[Any], weight: Floats, g: Floats, rate: F) -> Floats:
    return weight - flushed(g * rate)


STEPS: dict[str, Callable[[list[Any], Floats, Floats, F], Floats]] = {"rmsprop": rmsprop, "adam": adam, "sgd": sgd}


def warmup_linear_decay(step: int, peak: float, steps: int, warmup: float) -> F:
    """Return the learning rate of a step, counted from 0."""
    rising, taken = max(1.0, warmup * steps), F(step) + F(0.5)
    return F(peak) * min(taken * F(1 / rising), (F(steps) - taken) * F(1 / max(0.5, steps - rising)))


def mapped(features: Floats, random: Floats, affine: RandomAffine) -> Floats:
    """Return each image, [n, values], mapped by six random numbers, [n, 6]."""
    height, width, shift, distortion, channels = affine
    if channels > 1:  # map each channel as a separate picture
        planes = features.reshape(len(features), -1, channels)
        alone = [mapped(planes[..., k], random, affine._replace(channels=1)) for k in range(channels)]
        return np.stack(alone, axis=2).reshape(features.shape)
    middle, centre = (F((size - 1) / 2) for size in (height, width))
    a, b, c, d = (F(one) + F(distortion) * random[:, k, None] for k, one in enumerate((1, 0, 0, 1)))
    x, y = (start + F(shift) * random[:, k, None] for k, start in ((4, centre), (5, middle)))
    across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    column = (a * across)[:, None, :] + (b * down + (x - (a * centre + b * middle)))[:, :, None]
    row = (c * across)[:, None, :] + (d * down + (y - (c * centre + d * middle)))[:, :, None]
    column, row = np.clip(column, F(-1), F(width)), np.clip(row, F(-1), F(height))
    images = np.pad(features.reshape(-1, height, width), [(0, 0), (1, 2), (1, 2)])
    top, left = np.floor(row), np.floor(column)
    i, j, n = top.astype(int) + 1, left.astype(int) + 1, np.arange(len(features))[:, None, None]
    upper, lower = (
        images[n, k, j] + flushed((images[n, k, j + 1] - images[n, k, j]) * (column - left)) for k in (i, i + 1)
    )
    return flushed(upper + flushed((lower - upper) * (row - top))).reshape(features.shape)


def epoch_numbers(recipe: Recipe) -> list[int]:
    """Return the number of each epoch, which decides its order. Keras opens two iterators an epoch, and uses one."""
    import tensorflow as tf

    drawn = tf.data.Dataset.random(seed=recipe.seed, rerandomize_each_iteration=True).take(1)
    return [int(next(iter(drawn))) for _ in range(2 * recipe.epochs)][::2]


def batches(features: Floats, labels: NDArray[np.int32], recipe: Recipe) -> Iterator[Any]:
    """Yield the batches of all epochs, padded with zeros: features, labels, and the number of real rows."""
    import tensorflow as tf

    size = min(recipe.batch_size, len(labels))
    rows = recipe.shards * math.ceil(size / recipe.shards)
    for number in epoch_numbers(recipe):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(labels)), seed=tf.constant([recipe.seed, number], tf.int64), alg="philox"
        ).numpy()
        for start in range(0, len(labels), size):
            chosen = order[start : start + size]
            images = features[chosen]
            if recipe.augment is not None:
                seed = tf.constant([number, start], tf.int64)
                random = tf.random.stateless_uniform((len(chosen), 6), seed, minval=-1, maxval=1, alg="philox").numpy()
                images = mapped(images, random, recipe.augment)
            missing = rows - len(chosen)
            yield np.pad(images, [(0, missing), (0, 0)]), np.pad(labels[chosen], (0, missing)), len(chosen)


def train(layers: list[Any], features: Floats, labels: NDArray[np.int32], recipe: Recipe) -> list[tuple[float, float]]:
    """Train Dense and Convolution layers in place; return loss and accuracy of each epoch."""
    count = len(labels)
    per_epoch = math.ceil(count / min(recipe.batch_size, count))
    zeros = [[np.zeros_like(weight) for weight in layer.weights] for layer in layers]
    states = [[[zero, zero, F(1), F(1)] for zero in own] for own in zeros]
    history, total, right = [], F(0), 0
    for step, (images, chosen, real) in enumerate(batches(features, labels, recipe)):
        rate = F(recipe.learning_rate)
        if recipe.warmup is not None:
            rate = warmup_linear_decay(step, recipe.learning_rate, recipe.epochs * per_epoch, recipe.warmup)
        losses, hits, gradients = one_batch(layers, images, chosen, real, recipe.shards)
        total, right = total + losses * F(real), right + hits
        for layer, state, terms in zip(layers, states, gradients, strict=True):
            for k, g in enumerate(terms):
                layer.weights[k] = STEPS[recipe.optimizer](state[k], layer.weights[k], g, rate)
        if (step + 1) % per_epoch == 0:
            history.append((float(total / F(count)), float(F(right) / F(count))))
            total, right = F(0), 0
    return history


def measured(layers: list[Any], features: Floats, labels: NDArray[np.int32]) -> tuple[float, float]:
    """Return loss and accuracy of one validation batch without fillers."""
    logits, count = forward(layers, features), len(labels)
    losses, _ = loss(logits, labels, np.full(count, F(1) / F(count)))
    right = int((logits.argmax(axis=1) == labels).sum())
    return float(fold(losses) * F(count) / F(count)), float(F(right) / F(count))


def one_batch(layers: list[Any], images: Floats, labels: NDArray[np.int32], real: int, shards: int) -> Any:
    """Return loss, number of right answers and gradients of a batch, computed part by part."""
    weights = (np.arange(len(labels)) < real).astype(np.float32) * (F(1) / F(real))
    losses, hits, gradients = [], 0, []
    for part in np.split(np.arange(len(labels)), shards):
        logits = forward(layers, images[part])
        hits += int(((logits.argmax(axis=1) == labels[part]) & (part < real)).sum())
        values, upstream = loss(logits, labels[part], weights[part])
        losses.append(values)
        terms: list[list[Floats]] = []
        for layer in reversed(layers):
            upstream, own = layer.backward(upstream)
            terms.insert(0, own)
        gradients.append(terms)
    sums = [[added(list(same)) for same in zip(*layer, strict=True)] for layer in zip(*gradients, strict=True)]
    return fold(np.concatenate(losses)), hits, sums


def forward(layers: list[Any], images: Floats) -> Floats:
    """Return the logits, [n, classes]."""
    for layer in layers:
        images = layer.forward(images if isinstance(layer, Convolution) else images.reshape(len(images), -1))
    return images
