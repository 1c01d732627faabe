"""Small shifts, rotations, shears and scales of images: at random in training, and fixed views to predict from."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf


class Warp(NamedTuple):
    """How far an image is warped at most: a random affine map, uniform within these bounds."""

    height: int  # of an image, in pixels
    width: int
    shift: float  # pixels, along each axis
    distortion: float  # added to each entry of the 2 x 2 identity matrix
    channels: int = 1  # of a pixel, warped alike

    def __call__(self, features: "tf.Tensor", seed: "tf.Tensor") -> "tf.Tensor":
        """Warp each image by a random map of its own.

        Random numbers come from an integer generator; no sine or cosine is needed, whose bits could depend on the C
        library.

        Args:
            features: float32 [n, height * width * channels].
            seed: two integers; the maps depend on nothing else.

        Returns:
            float32 [n, height * width * channels], in the range of the features and 0.
        """
        import tensorflow as tf

        return self.mapped(
            features,
            tf.random.stateless_uniform((tf.shape(features)[0], 6), seed, minval=-1, maxval=1, alg="philox"),
        )

    def mapped(self, features: "tf.Tensor", numbers: "tf.Tensor") -> "tf.Tensor":
        """Warp each image by a map of its own, about its centre; what comes in from outside is 0.

        TensorFlow's own operation for this fuses multiplications and additions on arm64, so it is written out.

        Args:
            features: float32 [n, height * width * channels].
            numbers: float32 [n, 6] in [-1, 1], of the matrix by rows and of the shifts along columns and rows: how much
                of the greatest change.

        Returns:
            As a call.
        """
        import tensorflow as tf

        middle, centre = (self.height - 1) / 2, (self.width - 1) / 2
        a, b, c, d = tf.split(tf.constant([1.0, 0, 0, 1]) + self.distortion * numbers[:, :4], 4, axis=1)
        x, y = centre + self.shift * numbers[:, 4:5], middle + self.shift * numbers[:, 5:]
        across, down = (tf.range(size, dtype=tf.float32) for size in (self.width, self.height))
        # From a place in the new image to the one in the old: (a x + b y + x0, c x + d y + y0).
        column = _grid(a * across, b * down + (x - (a * centre + b * middle)), self.width)
        row = _grid(c * across, d * down + (y - (c * centre + d * middle)), self.height)
        return tf.reshape(self._interpolated(features, row, column), tf.shape(features))

    def _interpolated(self, features: "tf.Tensor", row: "tf.Tensor", column: "tf.Tensor") -> "tf.Tensor":
        """Values between four neighbours, at places [n, height, width]. Around the images lie zeros."""
        import tensorflow as tf

        deep = self.channels
        tall, wide = self.height + 3, (self.width + 3) * deep  # one pixel of zeros before, two after
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


def _grid(by_column: "tf.Tensor", by_row: "tf.Tensor", size: int) -> "tf.Tensor":
    """Sums for all pixels, of [n, width] and [n, height]: [n, height, width], at most one pixel outside of `size`."""
    import tensorflow as tf

    places = by_column[:, tf.newaxis, :] + by_row[:, :, tf.newaxis]
    return tf.minimum(tf.maximum(places, -1.0), float(size))


#: Views of an image: what is added to the entries of the identity matrix, by rows, and pixels along columns and rows.
#: First the image itself; then turned, scaled and slanted to either side, and shifted to four.
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

#: From features, [n, values], to those of a view of the same images.
View = Callable[["tf.Tensor"], "tf.Tensor"]


def itself(features: "tf.Tensor") -> "tf.Tensor":
    """The view of an image that is the image."""
    return features


def views(image_shape: Sequence[int], count: int) -> list[View]:
    """The first of VIEWS, for images of a form: height and width, and 3 if they are RGB."""
    height, width, channels = (*image_shape, 1)[:3]
    warp = Warp(height, width, shift=1.0, distortion=1.0, channels=channels)

    def view(numbers: Sequence[float]) -> View:
        import tensorflow as tf

        return lambda features: warp.mapped(
            features, tf.tile(tf.constant([numbers], tf.float32), [features.shape[0], 1])
        )

    return [view(numbers) if any(numbers) else itself for numbers in VIEWS[:count]]
