"""Convolutions in the defined arithmetic: the image patches under the kernel become the rows of a matrix product."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exactkeras import arithmetic
from exactkeras.arithmetic import COLUMNS, fold, in_order, lengths, padded, rounded_up, whole_columns, whole_rows


class Places:
    """The geometry of a convolution: which pixels lie under the kernel at each place of the output."""

    def __init__(self, image: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], padding: str) -> None:
        """Take (height, width) of the image, the kernel and the strides, and Keras's padding: 'same' or 'valid'."""
        self.image, self.kernel, self.strides = image, kernel, strides
        if padding == "same":
            self.output = tuple(-(-size // step) for size, step in zip(image, strides, strict=True))
        else:
            self.output = tuple((s - k) // step + 1 for s, k, step in zip(image, kernel, strides, strict=True))
        around = (
            max(0, (o - 1) * step + k - s) for o, step, k, s in zip(self.output, strides, kernel, image, strict=True)
        )
        self.before = tuple(zeros // 2 if padding == "same" else 0 for zeros in around)

    def indices(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the pixels under the kernel's values `start` to `stop` (counted row by row): [output places, values].

        A pixel has the number row * width + column. The number of pixels stands for a place outside the image, and for
        a value beyond the end of the kernel.
        """
        value = np.arange(start, stop)
        height, width = self.image
        grid = np.indices(self.output).reshape(2, -1, 1)
        row, column = (
            grid[axis] * self.strides[axis] - self.before[axis] + offset
            for axis, offset in enumerate((value // self.kernel[1], value % self.kernel[1]))
        )
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (value < math.prod(self.kernel))
        return np.where(inside, row * width + column, height * width).astype(np.int32)

    def gather(self, images: tf.Tensor, start: int, stop: int) -> tf.Tensor:
        """Gather the pixels under the kernel's values `start` to `stop`.

        Images [n, height, width, channels] give [n * output places, values * channels].
        """
        count, height, width, channels = images.shape
        index = self.indices(start, stop).ravel()
        if channels == 1:  # to gather whole columns takes a third of the time of gathering single numbers
            places = tf.pad(tf.transpose(tf.reshape(images, (count, height * width))), [[0, 1], [0, 0]])
            values = tf.transpose(tf.gather(places, index))
        else:
            places = tf.pad(tf.reshape(images, (count, height * width, channels)), [[0, 0], [0, 1], [0, 0]])
            values = tf.gather(places, index, axis=1)
        return tf.reshape(values, (-1, (stop - start) * channels))

    def scatter(self, rows: Sequence[tf.Tensor], channels: int) -> tf.Tensor:
        """Add patches back into images, [n, height, width, channels]: first over the kernel's rows, then its columns.

        `rows` has one tensor for each row of the kernel: [n, output height, output width, values], with at least
        kernel width * channels values.
        """
        along = self._added(rows, 1)[..., : self.kernel[1] * channels]
        return self._added(tf.split(along, self.kernel[1], axis=3), 2)

    def _added(self, terms: Sequence[tf.Tensor], axis: int) -> tf.Tensor:
        """Add terms in order. Term number k is first moved along an axis to the pixels under the kernel's offset k.

        With a stride, terms whose offsets differ modulo the stride share no pixel. They are added separately, and the
        sums are interleaved.
        """
        step, size, before = self.strides[axis - 1], self.image[axis - 1], self.before[axis - 1]
        count = -(-size // step)
        apart: list[list[tf.Tensor]] = [[] for _ in range(step)]
        for offset, values in enumerate(terms):
            first, phase = divmod(offset - before, step)
            apart[phase].append(_moved(values, axis, first, count))
        nothing = tf.zeros_like(apart[-before % step][0])  # needed if the stride is larger than the kernel
        joined = tf.stack([in_order(moved) if moved else nothing for moved in apart], axis + 1)
        shape = [*terms[0].shape]
        shape[axis] = count * step
        return tf.reshape(joined, shape)[(slice(None),) * axis + (slice(0, size),)]


def _moved(values: tf.Tensor, axis: int, first: int, count: int) -> tf.Tensor:
    """Move values along an axis so that they begin at `first`. Cut them, or pad them with zeros, to `count` places."""
    length = values.shape[axis]
    values = values[(slice(None),) * axis + (slice(max(0, -first), min(length, count - first)),)]
    zeros = [[0, 0]] * len(values.shape)
    zeros[axis] = [max(0, first), count - max(0, first) - values.shape[axis]]
    return tf.pad(values, zeros)


def kernel_lengths(values: int, channels: int) -> list[int]:
    """Cut a convolution's inner dimension into chains. Return how many values of the kernel each chain has.

    A value stands for all its channels. If it has more than LONGEST channels, `lengths` cuts it further.
    """
    most = max(1, arithmetic.LONGEST // channels)
    parts = -(-values // most)
    each = -(-values // parts)
    return [min(each, values - start) for start in range(0, values, each)]


def convolution(images: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, places: Places) -> tf.Tensor:
    """Compute a convolution before its activation.

    `images` are [n, height, width, channels], `kernel` is [kernel height, kernel width, channels, filters].
    """

    @tf.custom_gradient
    def layer(images: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> Any:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            by_place = tf.reshape(upstream, (-1, upstream.shape[-1]))
            to_kernel = kernel_gradient(images, by_place, places)
            return image_gradient(kernel, upstream, places), tf.reshape(to_kernel, kernel.shape), fold(by_place)

        return _convolved(images, kernel, places) + bias, gradients

    return layer(images, kernel, bias)


def _convolved(images: tf.Tensor, kernel: tf.Tensor, places: Places) -> tf.Tensor:
    height, width, channels, filters = kernel.shape
    weights = tf.reshape(kernel, (height * width * channels, filters))
    terms, start = [], 0
    for count in kernel_lengths(height * width, channels):
        values = places.gather(images, start, start + count)
        values = padded(values, 0, whole_rows(values.shape[0]))
        cut = lengths(count * channels)
        rows = weights[start * channels : (start + count) * channels]
        terms += [
            arithmetic.chains(*pair) for pair in zip(tf.split(values, cut, axis=1), tf.split(rows, cut), strict=True)
        ]
        start += count
    count = images.shape[0]
    return tf.reshape(in_order(terms)[: count * math.prod(places.output)], (count, *places.output, filters))


def kernel_gradient(images: tf.Tensor, upstream: tf.Tensor, places: Places) -> tf.Tensor:
    """Return the gradient of the kernel, [kernel height * kernel width * channels, filters]: a product over all places.

    `upstream` is the gradient of the output, [n * places, filters].
    """
    channels, filters = images.shape[-1], upstream.shape[-1]
    values = math.prod(places.kernel)
    patches = places.gather(images, 0, patch_values(values, channels))
    if swaps_factors(patches.shape[1], filters):
        gradient = tf.transpose(arithmetic.product_over_rows(upstream, patches))
    else:
        gradient = arithmetic.product_over_rows(patches, upstream)
    return gradient[: values * channels]


def patch_values(values: int, channels: int) -> int:
    """Round a number of kernel values up, so that values * channels needs no padding as rows or as columns."""
    common = 3 * COLUMNS
    return rounded_up(values, common // math.gcd(common, channels))


def swaps_factors(patches: int, filters: int) -> bool:
    """Decide whether to compute the transpose of the kernel gradient. It has the same chains and may be faster.

    TensorFlow copies the factor that it transposes, so the narrower factor should be transposed. Multiplications by
    the zeros of the padding are counted too.
    """
    now, then = whole_rows(patches) * whole_columns(filters), whole_rows(filters) * patches
    return (then, filters) < (now, patches)


def image_gradient(kernel: tf.Tensor, upstream: tf.Tensor, places: Places) -> tf.Tensor:
    """Return the gradient of the images, [n, height, width, channels]: products over the filters, added by `scatter`.

    `upstream` is the gradient of the output, [n, output height, output width, filters].
    """
    _, width, channels, filters = kernel.shape
    cut = lengths(filters)
    by_place = tf.split(tf.reshape(upstream, (-1, filters)), cut, axis=1)

    def row(weights: tf.Tensor) -> tf.Tensor:
        weights = padded(tf.reshape(weights, (width * channels, filters)), 0, whole_columns(width * channels))
        values = arithmetic.product(by_place, tf.split(weights, cut, axis=1), transpose_b=True)
        return tf.reshape(values, (*upstream.shape[:3], weights.shape[0]))

    return places.scatter([row(weights) for weights in tf.unstack(kernel)], channels)
