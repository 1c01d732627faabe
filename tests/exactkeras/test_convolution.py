"""A convolution: TensorFlow's values on whole numbers, where every order of adding is exact, and the defined bits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support import reference
from tests.support.bits import Floats, assert_same_bits, normal, whole

#: Image, kernel, strides, channels and filters.
FORMS = [
    ((7, 9), (3, 3), (1, 1), 1, 4),
    ((7, 9), (3, 3), (2, 2), 2, 5),
    ((8, 6), (5, 5), (2, 2), 1, 3),
    ((13, 4), (2, 3), (1, 2), 3, 1),
    ((5, 5), (1, 1), (2, 2), 7, 2),
    ((4, 5), (3, 3), (1, 1), 30, 6),  # 270 values under the kernel: two chains
    ((3, 4), (2, 2), (1, 1), 200, 3),  # a place of the kernel is longer than a chain
    ((5, 4), (3, 3), (1, 1), 2, 170),  # the factors of the kernel's gradient are swapped
]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("form", FORMS)
def test_it_gives_the_defined_bits_and_tensorflows_values(tensorflow: Any, form: Any, padding: str) -> None:
    from exactkeras.convolution import Places, convolution

    image, kernel, strides, channels, filters = form
    places = Places(image, kernel, strides, padding)
    shapes = (3, *image, channels), (*kernel, channels, filters), (filters,), (3, *places.output, filters)

    def gradients(layer: Callable[..., Any], arrays: list[Floats]) -> list[Any]:
        *inputs, upstream = map(tensorflow.constant, arrays)
        with tensorflow.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(*inputs)
        return [outputs, *tape.gradient(outputs, inputs, output_gradients=upstream)]

    def ours(images: Any, weights: Any, bias: Any) -> Any:
        return convolution(images, weights, bias, places)

    def theirs(images: Any, weights: Any, bias: Any) -> Any:
        return tensorflow.nn.conv2d(images, weights, strides, padding.upper()) + bias

    exact, arrays = ([numbers(*shape, seed=k) for k, shape in enumerate(shapes)] for numbers in (whole, normal))
    for own, other in zip(gradients(ours, exact), gradients(theirs, exact), strict=True):
        np.testing.assert_array_equal(own, other)
    images, weights, bias, upstream = arrays
    layer = reference.Convolution(weights, bias, image, strides=strides, same=padding == "same", relu=False)
    outputs = layer.forward(images)
    to_images, to_weights = layer.backward(upstream)
    for own, defined in zip(gradients(ours, arrays), [outputs, to_images, *to_weights], strict=True):
        assert_same_bits(own, defined)
