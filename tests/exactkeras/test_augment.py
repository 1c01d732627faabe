"""Affine maps: their effect on images, which only the seed determines."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.augment import VIEWS, RandomAffine
from tests.support.project import Arrays

pytestmark = pytest.mark.usefixtures("tensorflow")
Floats = NDArray[np.float32]


@pytest.fixture
def features(digits: Arrays) -> Floats:
    """Return features [50, 784] of the first training images."""
    return digits["x_train"][:50].reshape(50, 784).astype(np.float32) / np.float32(255)


def mapped(features: Any, shift: float = 1, distortion: float = 0.1) -> Floats:
    import tensorflow as tf

    affine = RandomAffine(28, 28, shift, distortion)
    return np.asarray(affine(tf.constant(features), tf.constant((1, 2), tf.int64)))


def test_it_interpolates_as_this_plain_program_does(features: Floats) -> None:
    """A second implementation of the map and the interpolation, from the same random numbers."""
    import tensorflow as tf

    random = tf.random.stateless_uniform((50, 6), (1, 2), minval=-1, maxval=1, alg="philox").numpy().astype(float)
    found = mapped(features).reshape(50, 28, 28)
    for index in (0, 49):
        image = np.pad(features[index].reshape(28, 28).astype(float), 30)
        (a, b, c, d), (dx, dy) = np.array([1, 0, 0, 1]) + 0.1 * random[index, :4], random[index, 4:]
        for y, x in itertools.product(range(28), range(28)):
            old_x, old_y = (a * (x - 13.5) + b * (y - 13.5) + 13.5 + dx, c * (x - 13.5) + d * (y - 13.5) + 13.5 + dy)
            left, top = int(np.floor(old_x)), int(np.floor(old_y))
            right, down = old_x - left, old_y - top
            corners = image[30 + top : 32 + top, 30 + left : 32 + left]
            expected = np.array([1 - down, down]) @ corners @ np.array([1 - right, right])
            assert found[index, y, x] == pytest.approx(expected, abs=1e-5)


def test_views_are_the_image_itself_and_small_changes_to_either_side(features: Floats) -> None:
    np.testing.assert_array_equal(mapped(features, shift=0, distortion=0), features)
    assert not any(VIEWS[0])  # the image itself
    assert [tuple(-number for number in left) for left in VIEWS[1::2]] == [*VIEWS[2::2]]
    far = mapped(features, shift=14, distortion=0.5)
    assert far.shape == features.shape
    assert 0 <= far.min() <= far.max() <= 1
