"""Layers in the defined arithmetic: Keras's own results, weights that go there and back, and refusals by name."""

from typing import Any

import numpy as np
import pytest

from dvcproof.runtime.program import InputError
from tests.support.bits import normal
from tests.support.networks import convnet, dense

pytestmark = pytest.mark.usefixtures("tensorflow")


def features(rows: int, values: int) -> Any:
    return np.random.default_rng(0).random((rows, values), np.float32)


def logits(layers: list[Any], values: Any) -> Any:
    for layer in layers:
        values = layer(values)
    return values


@pytest.mark.parametrize("rows", [1, 50])
@pytest.mark.parametrize("image_shape", [(28, 28), (13, 17)])
@pytest.mark.parametrize("network", [dense, convnet])
def test_they_give_what_keras_gives(tensorflow: Any, network: Any, image_shape: tuple[int, int], rows: int) -> None:
    from exactkeras.layers import defined

    model = network().build(image_shape, 7)
    values = tensorflow.constant(features(rows, image_shape[0] * image_shape[1]))
    found = tensorflow.nn.softmax(logits(defined(model), values))
    np.testing.assert_allclose(found, model(values), atol=1e-5)


@pytest.mark.parametrize("network", [dense, convnet])
def test_weights_go_there_and_back(network: Any) -> None:
    from exactkeras.layers import copy_back, defined

    model, other = network().build((28, 28), 10), network().build((28, 28), 10)
    for layer in model.layers:
        layer.set_weights([normal(*weights.shape, seed=k) for k, weights in enumerate(layer.get_weights())])
    copy_back(defined(model), other)
    for found, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_kernel_is_kept_in_its_pieces() -> None:
    from exactkeras.layers import defined

    hidden, last = defined(dense(units=512).build((28, 28), 10))
    assert [tuple(kernel.shape) for kernel in hidden.kernels] == [(168, 512)] * 4 + [(112, 512)]
    assert [tuple(kernel.shape) for kernel in last.kernels] == [(144, 10)] * 3 + [(80, 10)]


def test_a_frozen_layer_is_not_trained(tensorflow: Any) -> None:
    from exactkeras.fit import fit
    from exactkeras.recipe import Recipe

    model = dense().build((3, 4), 2)
    model.layers[0].trainable = False
    before = [layer.get_weights()[0] for layer in model.layers]
    data = tensorflow.constant(features(8, 12)), tensorflow.range(8) % 2
    fit(model, data, None, Recipe("sgd", 0.1, epochs=1, batch_size=4, shards=1, seed=0), verbose=0)
    after = [layer.get_weights()[0] for layer in model.layers]
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1] != before[1]).any()


#: Layers of Keras, by name and options, that stand between a Reshape to [4, 4, 2] and a Flatten.
BETWEEN: dict[str, dict[str, Any]] = {
    "Dropout": {"rate": 0.5},
    "MaxPooling2D": {},
    "BatchNormalization": {},
    "Activation": {"activation": "relu"},
    "SeparableConv2D": {"filters": 2, "kernel_size": 3},
    "DepthwiseConv2D": {"kernel_size": 3},
    "Conv2DTranspose": {"filters": 2, "kernel_size": 3},
    "Dense": {"units": 3},  # of more than two axes
}
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "no bias": {"use_bias": False},
    "dilated": {"dilation_rate": 2},
    "in groups": {"groups": 2},
    "another activation": {"activation": "tanh"},
    "a penalty": {"kernel_regularizer": "l2"},
    "a bound": {"kernel_constraint": "non_neg"},
}
DENSE: dict[str, dict[str, Any]] = {
    "no bias": {"use_bias": False},
    "another activation": {"activation": "sigmoid"},
    "probabilities": {"activation": "softmax"},
    "a penalty": {"bias_regularizer": "l2"},
}


def refused(*layers: Any) -> str:
    """The message about the layer 'odd' of a network from 32 features."""
    import keras

    from exactkeras.layers import defined

    with pytest.raises(InputError, match=r"layer 'odd': expected .* Got a .* of another form") as error:
        defined(keras.Sequential([keras.Input((32,)), *layers]))
    return str(error.value)


@pytest.mark.parametrize("kind", BETWEEN)
def test_another_layer_is_refused_by_name(kind: str) -> None:
    import keras

    odd = getattr(keras.layers, kind)(name="odd", **BETWEEN[kind])
    reshaped, flat = keras.layers.Reshape((4, 4, 2)), keras.layers.Flatten()
    assert f"Got a {kind} of another form" in refused(reshaped, odd, flat, keras.layers.Dense(3, "softmax"))


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_of_another_form_is_refused(case: str) -> None:
    import keras

    odd = keras.layers.Conv2D(2, 2, name="odd", **CONVOLUTIONS[case])
    refused(keras.layers.Reshape((4, 4, 2)), odd, keras.layers.Flatten(), keras.layers.Dense(3, "softmax"))


@pytest.mark.parametrize("case", DENSE)
def test_a_dense_layer_of_another_form_is_refused(case: str) -> None:
    import keras

    refused(keras.layers.Dense(8, name="odd", **DENSE[case]), keras.layers.Dense(3, "softmax"))


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid"])
def test_a_network_that_gives_no_probabilities_is_refused(activation: str | None) -> None:
    import keras

    refused(keras.layers.Dense(8, "relu"), keras.layers.Dense(3, activation, name="odd"))


def test_a_network_that_does_not_end_in_a_dense_layer_is_refused() -> None:
    import keras

    assert "Got a Reshape" in refused(keras.layers.Dense(3, "relu"), keras.layers.Reshape((3,), name="odd"))
