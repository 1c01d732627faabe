"""Layers in the defined arithmetic: Keras's own results, weights that go there and back, and refusals by name."""

from typing import Any

import numpy as np
import pytest

from dvcproof.runtime.program import InputError
from tests.support.bits import normal
from tests.support.networks import convnet, dense

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.mark.parametrize("image_shape", [(28, 28), (13, 17)])
@pytest.mark.parametrize("network", [dense, convnet])
def test_they_give_what_keras_gives_and_their_weights_back(
    tensorflow: Any, network: Any, image_shape: tuple[int, int]
) -> None:
    from exactkeras.layers import copy_back, defined

    model, other = network().build(image_shape, 7), network().build(image_shape, 7)
    model.set_weights([normal(*weight.shape, seed=k) / 10 for k, weight in enumerate(model.get_weights())])
    layers, inputs = defined(model), np.random.default_rng(0).random((50, image_shape[0] * image_shape[1]), np.float32)
    values = tensorflow.constant(inputs)
    for layer in layers:
        values = layer(values)
    np.testing.assert_allclose(tensorflow.nn.softmax(values), model(inputs), atol=1e-5)
    copy_back(layers, other)
    for found, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_frozen_layer_is_not_trained(tensorflow: Any) -> None:
    from exactkeras.fit import fit
    from exactkeras.recipe import Recipe

    model = dense().build((3, 4), 2)
    model.layers[0].trainable = False
    before = [layer.get_weights()[0] for layer in model.layers]
    data = tensorflow.ones((8, 12)), tensorflow.range(8) % 2
    fit(model, data, None, Recipe("sgd", 0.1, epochs=1, batch_size=4, shards=1, seed=0), verbose=0)
    after = [layer.get_weights()[0] for layer in model.layers]
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1] != before[1]).any()


def refused(odd: Any, *, images: bool) -> None:
    """Check that the layer `odd` is refused by name, among images or vectors."""
    import keras

    from exactkeras.layers import defined

    around = ([keras.layers.Reshape((4, 4, 2))], [keras.layers.Flatten()]) if images else ([], [])
    layers = [*around[0], odd, *around[1], keras.layers.Dense(3, "softmax")]
    kind = type(odd).__name__
    with pytest.raises(InputError, match=rf"^layer '{odd.name}': this {kind} has no defined arithmetic\. Use Reshape"):
        defined(keras.Sequential([keras.Input((32,)), *layers]))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Dropout", {"rate": 0.5}),
        ("SeparableConv2D", {"filters": 2, "kernel_size": 3}),
        *[("Conv2D", {key: value}) for key, value in (("dilation_rate", 2), ("groups", 2), ("activation", "tanh"))],
        *[("Conv2D", {key: "l2"}) for key in ("kernel_regularizer", "bias_regularizer")],
        ("Conv2D", {"use_bias": False}),
        ("Conv2D", {"kernel_constraint": "non_neg"}),
        ("Dense", {"use_bias": False}),
        *[("Dense", {"activation": activation}) for activation in ("sigmoid", "softmax")],
        ("Dense", {"dtype": "float64"}),
        ("Dense", {"dtype": "mixed_float16"}),
        ("Dense", {"lora_rank": 2}),
    ],
)
def test_another_layer_is_refused_by_name(kind: str, options: dict[str, Any]) -> None:
    import keras

    needed = {"Conv2D": {"filters": 2, "kernel_size": 2}, "Dense": {"units": 8}}.get(kind, {})
    refused(getattr(keras.layers, kind)(**needed, **options), images="Conv" in kind)


def test_a_dense_layer_of_more_than_two_axes_is_refused() -> None:
    import keras

    refused(keras.layers.Dense(3), images=True)


@pytest.mark.parametrize("base", ["Dense", "Conv2D", "Reshape", "Flatten"])
def test_a_layer_with_its_own_call_is_refused(base: str) -> None:
    """Otherwise the layer would be trained as its plain base class."""
    import keras

    kind = getattr(keras.layers, base)
    own = type(f"Own{base}", (kind,), {"call": lambda self, inputs: 2 * kind.call(self, inputs)})
    options = {"Dense": (8,), "Conv2D": (2, 2), "Reshape": ((4, 4, 2),), "Flatten": ()}[base]
    refused(own(*options), images=base != "Dense")


def test_a_network_with_its_own_call_is_refused() -> None:
    import keras

    from exactkeras.layers import defined

    class Doubled(keras.Sequential):
        def call(self, *given: Any, **options: Any) -> Any:
            return 2 * super().call(*given, **options)

    with pytest.raises(InputError, match=r"^network 'ours': a Doubled has no defined arithmetic\. Build a keras\.Seq"):
        defined(Doubled([keras.Input((32,)), keras.layers.Dense(3, "softmax")], name="ours"))


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid"])
def test_a_network_that_gives_no_probabilities_is_refused(activation: str | None) -> None:
    import keras

    from exactkeras.layers import defined

    for last in (keras.layers.Dense(3, activation, name="odd"), keras.layers.Reshape((3,), name="odd")):
        network = keras.Sequential([keras.Input((32,)), keras.layers.Dense(3, "relu"), last])
        with pytest.raises(InputError, match=r"^layer 'odd': this .* has no defined arithmetic"):
            defined(network)
