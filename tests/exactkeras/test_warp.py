"""Warping: what it does to an image, and that nothing but the seed decides it."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.warp import VIEWS, Warp, views
from tests.support import reference
from tests.support.project import Arrays

pytestmark = pytest.mark.usefixtures("tensorflow")
STILL, USUAL = Warp(28, 28, shift=0, distortion=0), Warp(28, 28, shift=1, distortion=0.1)


@pytest.fixture
def features(digits: Arrays) -> NDArray[np.float32]:
    """Features [50, 784] of the first training images."""
    return digits["x_train"][:50].reshape(50, 784).astype(np.float32) / np.float32(255)


def warped(warp: Warp, features: Any, *seed: int) -> NDArray[np.float32]:
    import tensorflow as tf

    return np.asarray(warp(tf.constant(features), tf.constant(seed or (1, 2), tf.int64)))


def centres(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centre of mass of each image, (y, x)."""
    images, places = features.reshape(-1, 28, 28).astype(float), np.arange(28)
    mass = images.sum(axis=(1, 2))
    return np.stack([images.sum(axis=2) @ places / mass, images.sum(axis=1) @ places / mass], axis=1)


def test_bounds_of_zero_leave_every_image_as_it_is(features: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(warped(STILL, features), features)


def test_a_shift_moves_each_image_by_at_most_that(features: NDArray[np.float32]) -> None:
    moved = centres(warped(Warp(28, 28, shift=2, distortion=0), features)) - centres(features)
    assert np.abs(moved).max() < 2.01
    assert np.abs(moved).max() > 1.5
    assert len(np.unique(moved.round(3), axis=0)) == len(features)  # each its own way
    assert np.abs(moved.mean(axis=0)).max() < 0.6


def test_a_distortion_keeps_the_centre_and_changes_the_form() -> None:
    dot = np.zeros((1, 28, 28), np.float32)
    dot[:, 13:15, 13:15] = 1
    middle = warped(Warp(28, 28, shift=0, distortion=0.3), np.repeat(dot.reshape(1, 784), 50, axis=0))
    np.testing.assert_allclose(centres(middle), 13.5, atol=1e-4)
    assert len(np.unique(middle, axis=0)) == 50


def test_it_interpolates_as_this_plain_program_does(features: NDArray[np.float32]) -> None:
    """A second implementation of the map and the interpolation, from the same random numbers."""
    import tensorflow as tf

    random = tf.random.stateless_uniform((50, 6), (1, 2), minval=-1, maxval=1, alg="philox").numpy().astype(float)
    found = warped(USUAL, features).reshape(50, 28, 28)
    for index in (0, 7, 49):
        image = np.pad(features[index].reshape(28, 28).astype(float), 30)
        (a, b, c, d), (dx, dy) = np.array([1, 0, 0, 1]) + 0.1 * random[index, :4], random[index, 4:]
        for y, x in itertools.product(range(28), range(28)):
            old_x, old_y = (a * (x - 13.5) + b * (y - 13.5) + 13.5 + dx, c * (x - 13.5) + d * (y - 13.5) + 13.5 + dy)
            left, top = int(np.floor(old_x)), int(np.floor(old_y))
            right, down = old_x - left, old_y - top
            corners = image[30 + top : 32 + top, 30 + left : 32 + left]
            expected = np.array([1 - down, down]) @ corners @ np.array([1 - right, right])
            assert found[index, y, x] == pytest.approx(expected, abs=1e-5)


def test_values_stay_in_range_and_shape(features: NDArray[np.float32]) -> None:
    result = warped(Warp(28, 28, shift=14, distortion=0.5), features)
    assert result.shape == features.shape
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


def test_the_seed_decides_everything(features: NDArray[np.float32]) -> None:
    first = warped(USUAL, features, 1, 2)
    np.testing.assert_array_equal(first, warped(USUAL, features, 1, 2))
    for other in ((1, 3), (2, 2), (2, 1)):
        assert (warped(USUAL, features, *other) != first).any(axis=1).all()


def test_views_are_the_image_itself_and_small_changes_to_either_side(features: NDArray[np.float32]) -> None:
    import tensorflow as tf

    seen = [np.asarray(view(tf.constant(features))) for view in views((28, 28), len(VIEWS))]
    np.testing.assert_array_equal(seen[0], features)
    assert len({values.tobytes() for values in seen}) == len(VIEWS) == 11
    for values in seen[1:]:
        assert values.shape == features.shape
        assert 0 < np.abs(values - features).mean() < features.mean()  # most of the ink stays where it was
        assert (values.min(), values.max() <= 1) == (0, True)
    moved = [(centres(values) - centres(features)).mean(axis=0) for values in seen]
    for left, right in zip(moved[1::2], moved[2::2], strict=True):
        np.testing.assert_allclose(left, -right, atol=0.2)
    assert np.abs(moved[7:]).max(axis=1) == pytest.approx(1, abs=0.1)  # the shifts


@pytest.mark.parametrize("image_shape", [(28, 28), (13, 17), (9, 8, 3)])
def test_views_of_images_of_any_form_are_those_of_a_plain_program(image_shape: tuple[int, ...]) -> None:
    import tensorflow as tf

    values = np.random.default_rng(0).random((5, int(np.prod(image_shape))), np.float32)
    height, width, channels = (*image_shape, 1)[:3]
    warp = Warp(height, width, shift=1.0, distortion=1.0, channels=channels)
    for numbers, view in zip(VIEWS, views(image_shape, len(VIEWS)), strict=True):
        expected = reference.warped(values, np.tile(np.array(numbers, np.float32), (5, 1)), warp)
        np.testing.assert_array_equal(view(tf.constant(values)), expected)
