"""Affine maps of images (shift, rotation, shear, scale): random maps for training, fixed views for prediction."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf

#: A function from features, [n, values], to the features of the same images after an affine map.
View = Callable[["tf.Tensor"], "tf.Tensor"]


class RandomAffine(NamedTuple):
    """A random affine map for each image, drawn uniformly within these bounds."""

    height: int  # of an image, in pixels
    width: int
    shift: float  # the most pixels along each axis
    distortion: float  # the most that is added to each entry of the 2 x 2 identity matrix
    channels: int = 1

    def __call__(self, features: "tf.Tensor", seed: "tf.Tensor") -> "tf.Tensor":
        """Map each image at random. The seed, two integers, decides every map.

        The random numbers come from an integer generator. No sine is needed: its bits could depend on the C library.
        """
        import tensorflow as tf

        shape = (tf.shape(features)[0], 6)
        return self.apply(features, tf.random.stateless_uniform(shape, seed, minval=-1, maxval=1, alg="philox"))

    def apply(self, features: "tf.Tensor", numbers: "tf.Tensor") -> "tf.Tensor":
        """Map each image about its centre; pixels from outside the image are 0.

        Args:
            features: float32 [n, height * width * channels].
            numbers: float32 [n, 6] in [-1, 1], as fractions of the bounds: the matrix by rows, then the shifts along
                columns and rows.

        Returns:
            float32 [n, height * width * channels].
        """
        import tensorflow as tf

        # TensorFlow's own operation fuses multiplications and additions on arm64, so the map is written out here.
        middle, centre = (self.height - 1) / 2, (self.width - 1) / 2
        a, b, c, d = tf.split(tf.constant([1.0, 0, 0, 1]) + self.distortion * numbers[:, :4], 4, axis=1)
        x, y = centre + self.shift * numbers[:, 4:5], middle + self.shift * numbers[:, 5:]
        across, down = (tf.range(size, dtype=tf.float32) for size in (self.width, self.height))

        def grid(by_column: "tf.Tensor", by_row: "tf.Tensor", size: int) -> "tf.Tensor":
            """Return the sums [n, height, width] of [n, width] and [n, height], clipped to one pixel off the image."""
            return tf.minimum(tf.maximum(by_column[:, tf.newaxis, :] + by_row[:, :, tf.newaxis], -1.0), float(size))

        # Pixel (x, y) of the new image is read from column a x + b y + x0 and row c x + d y + y0 of the old image.
        column = grid(a * across, b * down + (x - (a * centre + b * middle)), self.width)
        row = grid(c * across, d * down + (y - (c * centre + d * middle)), self.height)
        return tf.reshape(self._interpolate(features, row, column), tf.shape(features))

    def _interpolate(self, features: "tf.Tensor", row: "tf.Tensor", column: "tf.Tensor") -> "tf.Tensor":
        """Return the values at the given rows and columns, [n, height, width], interpolated between four pixels."""
        import tensorflow as tf

        deep = self.channels
        tall, wide = self.height + 3, (self.width + 3) * deep  # one pixel of zeros before the image, two after it
        images = tf.reshape(features, (-1, self.height, self.width * deep))
        flat = tf.reshape(tf.pad(images, [[0, 0], [1, 2], [deep, 2 * deep]]), [-1])
        top, left = tf.floor(row), tf.floor(column)
        first = tf.range(tf.shape(row)[0])[:, tf.newaxis, tf.newaxis] * (tall * wide) + (wide + deep)
        below, right = row - top, column - left
        corner = first + tf.cast(top, tf.int32) * wide + tf.cast(left, tf.int32) * deep
        if deep > 1:
            corner = corner[..., tf.newaxis] + tf.range(deep)
            below, right = below[..., tf.newaxis], right[..., tf.newaxis]

        def between(start: "tf.Tensor", stop: "tf.Tensor", fraction: "tf.Tensor") -> "tf.Tensor":
            return start + (stop - start) * fraction

        upper, lower = (
            between(tf.gather(flat, corner + step), tf.gather(flat, corner + step + deep), right) for step in (0, wide)
        )
        return between(upper, lower, below)


#: The maps of the views. Four numbers are added to the identity matrix, row by row; two are shifts in pixels, along
#: columns and along rows. The first view is the image itself. Then two views each are rotated, scaled and sheared, and
#: four are shifted.
VIEWS: Sequence[Sequence[float]] = (
    (0, 0, 0, 0, 0, 0),
    (0, 0.12, -0.12, 0, 0, 0),
    (0, -0.12, 0.12, 0, 0, 0),
    (0.1, 0, 0, 0.1, 0, 0),
    (-0.1, 0, 0, -0.1, 0, 0),
    (0, 0.12, 0, 0, 0, 0),
    (0, -0.12, 0, 0, 0, 0),
    (0, 0, 0, 0, 1, 0),
    (0, 0, 0, 0, -1, 0),
    (0, 0, 0, 0, 0, 1),
    (0, 0, 0, 0, 0, -1),
)


def itself(features: "tf.Tensor") -> "tf.Tensor":
    """Return the features: the identity view."""
    return features


def views(image_shape: Sequence[int], count: int) -> list[View]:
    """Return functions for the first `count` of VIEWS, for images of [height, width] or [height, width, 3]."""
    height, width, channels = (*image_shape, 1)[:3]
    affine = RandomAffine(height, width, shift=1.0, distortion=1.0, channels=channels)

    def view(numbers: Sequence[float]) -> View:
        import tensorflow as tf

        return lambda features: affine.apply(
            features, tf.tile(tf.constant([numbers], tf.float32), [features.shape[0], 1])
        )

    return [view(numbers) if any(numbers) else itself for numbers in VIEWS[:count]]
