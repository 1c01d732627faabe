"""A convolution: TensorFlow's values on whole numbers, where every order of adding is exact, and the defined bits."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support import reference
from tests.support.bits import Floats, assert_same_bits, normal, whole

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
    Form((4, 5), (3, 3), (1, 1), 30, 6),  # 270 values under the kernel: two chains
    Form((3, 4), (2, 2), (1, 1), 200, 3),  # a place of the kernel is longer than a chain
    Form((5, 4), (3, 3), (1, 1), 2, 170),  # the factors of the kernel's gradient are swapped
]


def sample(form: Form, output: Any, numbers: Any) -> list[Floats]:
    """Return images, kernel, bias and the gradient of the output."""
    shapes = ((3, *form.image, form.channels), (*form.kernel, form.channels, form.filters), (form.filters,))
    return [numbers(*shape, seed=k) for k, shape in enumerate((*shapes, (3, *output, form.filters)))]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("form", FORMS)
def test_it_gives_the_defined_bits_and_tensorflows_values(tensorflow: Any, form: Form, padding: str) -> None:
    from exactkeras.convolution import Places, convolution

    image, kernel, strides, *_ = form
    places = Places(image, kernel, strides, padding)

    def gradients(layer: Any, arrays: list[Floats]) -> list[Any]:
        *inputs, upstream = map(tensorflow.constant, arrays)
        with tensorflow.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(*inputs)
        return [outputs, *tape.gradient(outputs, inputs, output_gradients=upstream)]

    def theirs(images: Any, weights: Any, bias: Any) -> Any:
        return tensorflow.nn.conv2d(images, weights, strides, padding.upper()) + bias

    exact = sample(form, places.output, whole)
    for own, other in zip(
        gradients(lambda images, weights, bias: convolution(images, weights, bias, places), exact),
        gradients(theirs, exact),
        strict=True,
    ):
        np.testing.assert_array_equal(own, other)
    images, weights, bias, upstream = arrays = sample(form, places.output, normal)
    layer = reference.Convolution(weights, bias, image, strides=strides, same=padding == "same", relu=False)
    outputs = layer.forward(images)
    to_images, to_weights = layer.backward(upstream)
    for own, other in zip(
        gradients(lambda images, weights, bias: convolution(images, weights, bias, places), arrays),
        [outputs, to_images, *to_weights],
        strict=True,
    ):
        assert_same_bits(own, other)


def test_factors_are_swapped_for_less_zeros_or_less_to_copy() -> None:
    from exactkeras.convolution import swaps_factors

    assert swaps_factors(48, 24)  # 24 x 48 instead of 48 x 32
    assert not swaps_factors(48, 80)  # 96 x 48 instead of 48 x 80
    assert swaps_factors(240, 48)  # as many zeros, and the narrower one is copied
    assert not swaps_factors(48, 96)


def test_a_kernel_is_cut_at_whole_places() -> None:
    from exactkeras.convolution import kernel_lengths

    assert kernel_lengths(25, 1) == [25]
    assert kernel_lengths(9, 24) == [5, 4]
    assert kernel_lengths(9, 48) == [3, 3, 3]
    assert kernel_lengths(4, 200) == [1, 1, 1, 1]
