"""A convolution: TensorFlow's values on whole numbers, where every order of adding is exact, and the defined bits."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support import reference
from tests.support.bits import assert_same_bits, normal, whole

pytestmark = pytest.mark.usefixtures("tensorflow")


class Form(NamedTuple):
    """A convolution."""

    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    channels: int
    filters: int


FORMS = [
    Form((7, 9), (3, 3), (1, 1), 1, 4),
    Form((7, 9), (3, 3), (2, 2), 2, 5),
    Form((8, 6), (5, 5), (2, 2), 1, 3),
    Form((13, 4), (2, 3), (1, 2), 3, 1),
    Form((5, 5), (1, 1), (2, 2), 7, 2),
    Form((5, 6), (5, 6), (1, 1), 1, 2),
    Form((4, 5), (3, 3), (1, 1), 30, 6),  # 270 values under the kernel: two chains
    Form((3, 4), (2, 2), (1, 1), 200, 3),  # a place of the kernel is longer than a chain
]
every_form = pytest.mark.parametrize("form", FORMS)
both_margins = pytest.mark.parametrize("padding", ["same", "valid"])


@both_margins
@every_form
def test_whole_numbers_give_what_tensorflow_gives(tensorflow: Any, form: Form, padding: str) -> None:
    from exactkeras.convolution import Places, convolution

    image, kernel, strides, channels, filters = form
    places = Places(image, kernel, strides, padding)
    values = (whole(3, *image, channels), whole(*kernel, channels, filters, seed=1), whole(filters, seed=2))
    images, weights, bias = map(tensorflow.constant, values)
    upstream = tensorflow.constant(whole(3, *places.output, filters, seed=3))

    def gradients(layer: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            tape.watch([images, weights, bias])
            outputs = layer()
        return outputs, *tape.gradient(outputs, [images, weights, bias], output_gradients=upstream)

    found = gradients(lambda: convolution(images, weights, bias, places))
    theirs = gradients(lambda: tensorflow.nn.conv2d(images, weights, strides, padding.upper()) + bias)
    for own, other in zip(found, theirs, strict=True):
        np.testing.assert_array_equal(own, other)


@both_margins
@every_form
def test_other_numbers_give_the_defined_bits(tensorflow: Any, form: Form, padding: str) -> None:
    from exactkeras.convolution import Places, convolution

    image, kernel, strides, channels, filters = form
    places = Places(image, kernel, strides, padding)
    values = (normal(3, *image, channels), normal(*kernel, channels, filters, seed=1), normal(filters, seed=2))
    upstream = normal(3, *places.output, filters, seed=3)
    watched = [tensorflow.constant(value) for value in values]
    with tensorflow.GradientTape() as tape:
        tape.watch(watched)
        outputs = convolution(watched[0], watched[1], watched[2], places)
    found = outputs, *tape.gradient(outputs, watched, output_gradients=tensorflow.constant(upstream))
    layer = reference.Convolution(*values[1:], image, strides=strides, same=padding == "same", relu=False)
    expected = [layer.forward(values[0])]
    to_images, to_weights = layer.backward(upstream)
    for own, other in zip(found, [*expected, to_images, *to_weights], strict=True):
        assert_same_bits(own, other)


@pytest.mark.parametrize("filters", [1, 24, 170])
def test_factors_that_change_places_change_no_bit(
    tensorflow: Any, monkeypatch: pytest.MonkeyPatch, filters: int
) -> None:
    from exactkeras import convolution

    places = convolution.Places((9, 7), (3, 3), (1, 1), "same")
    images = tensorflow.constant(normal(4, 9, 7, 2))
    upstream = tensorflow.constant(normal(4 * 63, filters, seed=1))
    found = []
    for changes in (False, True):
        monkeypatch.setattr(convolution, "changes_places", lambda *_, changes=changes: changes)
        found.append(convolution.kernel_gradient(images, upstream, places))
    assert_same_bits(*found)


def test_factors_change_places_for_less_zeros_or_less_to_copy() -> None:
    from exactkeras.convolution import changes_places

    assert changes_places(48, 24)  # 24 x 48 instead of 48 x 32
    assert not changes_places(48, 16)  # 24 x 48 instead of 48 x 16
    assert changes_places(240, 48)  # as many zeros, and the narrower is copied
    assert not changes_places(48, 48)
    assert not changes_places(48, 96)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16, 24, 48, 72])
def test_gathered_values_need_no_more_zeros(channels: int) -> None:
    from exactkeras.arithmetic import COLUMNS, ROWS
    from exactkeras.convolution import patch_values

    for values in (1, 9, 25, 49):
        gathered = patch_values(values, channels)
        assert gathered >= values
        assert gathered * channels % math.lcm(ROWS, COLUMNS) == 0


def test_a_kernel_is_cut_at_whole_places() -> None:
    from exactkeras.convolution import kernel_lengths

    assert kernel_lengths(25, 1) == [25]
    assert kernel_lengths(9, 24) == [5, 4]
    assert kernel_lengths(9, 48) == [3, 3, 3]
    assert kernel_lengths(4, 200) == [1, 1, 1, 1]
    for values in range(1, 50):
        for channels in (1, 3, 24, 168, 169, 400):
            pieces, start = [], 0
            for count in kernel_lengths(values, channels):
                pieces.append((start * channels, (start + count) * channels))
                start += count
            assert start == values
            first = [begin for begin, _ in reference.cut_kernel(values, channels)]
            assert {begin for begin, _ in pieces} <= set(first)


@both_margins
@every_form
def test_scattering_is_the_reverse_of_gathering(tensorflow: Any, form: Form, padding: str) -> None:
    """As matrices, one is the other transposed: <gather(x), y> = <x, scatter(y)>."""
    from exactkeras.convolution import Places

    image, kernel, strides, channels, _ = form
    places, values = Places(image, kernel, strides, padding), math.prod(kernel)
    images = whole(2, *image, channels)
    gathered = places.gather(tensorflow.constant(images), 0, values).numpy()
    other = whole(*gathered.shape, seed=1)
    by_row = np.moveaxis(other.reshape(2, *places.output, kernel[0], -1), 3, 0)
    scattered = places.scatter(list(map(tensorflow.constant, by_row)), channels).numpy()
    assert scattered.shape == images.shape
    assert (gathered * other).sum() == (scattered * images).sum()
