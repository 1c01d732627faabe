"""Data augmentation: random shift, rotation, shear and scale of each image, different in every epoch."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf

SIDE = 28


class Warp(NamedTuple):
    """How far an image is warped at most: a random affine map, uniform within these bounds."""

    shift: float  # pixels, along each axis
    distortion: float  # added to each number of the 2 x 2 matrix that would leave the image as it is

    def __call__(self, features: "tf.Tensor", seed: "tf.Tensor") -> "tf.Tensor":
        """Warp each image by a map of its own, about its centre; what comes in from outside is 0.

        Pixels are interpolated between their four neighbours. No sine or cosine is needed, whose bits could depend on
        the C library.

        Args:
            features: float32 [n, 784].
            seed: two integers; the maps depend on nothing else.

        Returns:
            float32 [n, 784], in the range of the features and 0.
        """
        import tensorflow as tf

        count, centre = tf.shape(features)[0], (SIDE - 1) / 2
        random = tf.random.stateless_uniform((count, 6), seed, minval=-1, maxval=1, alg="philox")
        a, b, c, d = tf.unstack(tf.constant([1.0, 0, 0, 1]) + self.distortion * random[:, :4], axis=1)
        x, y = tf.unstack(centre + self.shift * random[:, 4:], axis=1)
        still = tf.zeros(count)
        # From a place in the new image to the one in the old: (a x + b y + x0, c x + d y + y0).
        maps = tf.stack([a, b, x - centre * (a + b), c, d, y - centre * (c + d), still, still], axis=1)
        warped = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.reshape(features, (-1, SIDE, SIDE, 1)),
            transforms=maps,
            output_shape=(SIDE, SIDE),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        return tf.reshape(warped, tf.shape(features))
