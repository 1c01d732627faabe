"""A convolution in the defined arithmetic: what the kernel meets is gathered, and multiplied as a product."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exactkeras.arithmetic import (
    COLUMNS,
    LONGEST,
    ROWS,
    chains,
    fold,
    in_order,
    lengths,
    padded,
    product,
    product_over_rows,
    rounded_up,
)


class Places:
    """Which values of an image a convolution multiplies: its geometry, in numbers that are known before any image."""

    def __init__(self, image: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], padding: str) -> None:
        """Take heights and widths, and Keras's 'same' or 'valid'."""
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
        """Where the kernel's values `start` to `stop`, counted row by row, lie: [output places, values].

        A place in the image is row times width plus column; outside of it, and for a value that the kernel does not
        have, it is the number of places.
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
        """What the kernel's values meet: images [n, height, width, channels] to [n * places, values * channels]."""
        count, height, width, channels = images.shape
        index = self.indices(start, stop).ravel()
        if channels == 1:  # whole columns are gathered, not single numbers: a third of the time
            places = tf.pad(tf.transpose(tf.reshape(images, (count, height * width))), [[0, 1], [0, 0]])
            values = tf.transpose(tf.gather(places, index))
        else:
            places = tf.pad(tf.reshape(images, (count, height * width, channels)), [[0, 0], [0, 1], [0, 0]])
            values = tf.gather(places, index, axis=1)
        return tf.reshape(values, (-1, (stop - start) * channels))

    def scatter(self, rows: Sequence[tf.Tensor], channels: int) -> tf.Tensor:
        """The reverse of gathering: what meets the same value of an image is added.

        First over the rows of the kernel in order, then over its columns in order.

        Args:
            rows: for each row of the kernel [n, output height, output width, at least kernel width * channels].
            channels: of the images.

        Returns:
            [n, height, width, channels].
        """
        along = self._added(rows, 1)[..., : self.kernel[1] * channels]
        return self._added(tf.split(along, self.kernel[1], axis=3), 2)

    def _added(self, terms: Sequence[tf.Tensor], axis: int) -> tf.Tensor:
        """The sum of terms in order, each moved along an axis to where the values at its offset in the kernel lie.

        Places that a stride keeps apart never meet, so they are added by themselves and joined in the end.
        """
        step, size, before = self.strides[axis - 1], self.image[axis - 1], self.before[axis - 1]
        count = -(-size // step)
        apart: list[list[tf.Tensor]] = [[] for _ in range(step)]
        for offset, values in enumerate(terms):
            first, phase = divmod(offset - before, step)
            apart[phase].append(_moved(values, axis, first, count))
        nothing = tf.zeros_like(apart[-before % step][0])  # of a stride that is greater than the kernel
        joined = tf.stack([in_order(moved) if moved else nothing for moved in apart], axis + 1)
        shape = [*terms[0].shape]
        shape[axis] = count * step
        return tf.reshape(joined, shape)[(slice(None),) * axis + (slice(0, size),)]


def _moved(values: tf.Tensor, axis: int, first: int, count: int) -> tf.Tensor:
    """Values along an axis from place `first` on, cut or filled with zeros to `count` places."""
    length = values.shape[axis]
    values = values[(slice(None),) * axis + (slice(max(0, -first), min(length, count - first)),)]
    zeros = [[0, 0]] * len(values.shape)
    zeros[axis] = [max(0, first), count - max(0, first) - values.shape[axis]]
    return tf.pad(values, zeros)


def kernel_lengths(values: int, channels: int) -> list[int]:
    """Cut a convolution's inner dimension: how many of the kernel's values, each with all channels, a chain takes.

    Returns:
        Numbers of values, equal but for the last; or one for each value if a single one has more channels than LONGEST.
    """
    most = max(1, LONGEST // channels)
    parts = -(-values // most)
    each = -(-values // parts)
    return [min(each, values - start) for start in range(0, values, each)]


def convolution(images: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, places: Places) -> tf.Tensor:
    """A convolution before its activation, by gathering and a product.

    Args:
        images: [n, height, width, channels].
        kernel: [kernel height, kernel width, channels, filters].
        bias: [filters].
        places: the geometry.
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
        values = padded(places.gather(images, start, start + count), 0, ROWS)
        cut = lengths(count * channels)
        rows = weights[start * channels : (start + count) * channels]
        terms += [chains(*pair) for pair in zip(tf.split(values, cut, axis=1), tf.split(rows, cut), strict=True)]
        start += count
    count = images.shape[0]
    return tf.reshape(in_order(terms)[: count * math.prod(places.output)], (count, *places.output, filters))


def kernel_gradient(images: tf.Tensor, upstream: tf.Tensor, places: Places) -> tf.Tensor:
    """The gradient of a convolution's kernel: a product over all places of all images, in their order.

    Args:
        images: [n, height, width, channels].
        upstream: the gradient of what the convolution gave, [n * places, filters].
        places: the geometry.

    Returns:
        [kernel height * kernel width * channels, filters].
    """
    channels, filters = images.shape[-1], upstream.shape[-1]
    values = math.prod(places.kernel)
    patches = places.gather(images, 0, patch_values(values, channels))
    if changes_places(patches.shape[1], filters):
        gradient = tf.transpose(product_over_rows(upstream, patches))
    else:
        gradient = product_over_rows(patches, upstream)
    return gradient[: values * channels]


def patch_values(values: int, channels: int) -> int:
    """Values that are gathered for a kernel's gradient, zeros among them: with the channels, whole ROWS and COLUMNS."""
    common = math.lcm(ROWS, COLUMNS)
    return rounded_up(values, common // math.gcd(common, channels))


def changes_places(patches: int, filters: int) -> bool:
    """Whether the factors of a kernel's gradient change places. It changes no chain.

    The factor that is stored transposed is copied by the kernel, so it had better be the narrower; and zeros that fill
    it up are computed.
    """
    now, then = rounded_up(patches, ROWS) * rounded_up(filters, COLUMNS), rounded_up(filters, ROWS) * patches
    return (then, filters) < (now, patches)


def image_gradient(kernel: tf.Tensor, upstream: tf.Tensor, places: Places) -> tf.Tensor:
    """The gradient of the images of a convolution: products over the filters, added where they met the same value.

    Args:
        kernel: [kernel height, kernel width, channels, filters].
        upstream: the gradient of what the convolution gave, [n, output height, output width, filters].
        places: the geometry.

    Returns:
        [n, height, width, channels].
    """
    _, width, channels, filters = kernel.shape
    cut = lengths(filters)
    by_place = tf.split(tf.reshape(upstream, (-1, filters)), cut, axis=1)

    def row(weights: tf.Tensor) -> tf.Tensor:
        weights = padded(tf.reshape(weights, (width * channels, filters)), 0, COLUMNS)
        values = product(by_place, tf.split(weights, cut, axis=1), transpose_b=True)
        return tf.reshape(values, (*upstream.shape[:3], weights.shape[0]))

    return places.scatter([row(weights) for weights in tf.unstack(kernel)], channels)
