"""The training written a second time, in NumPy from the definition: the same weights, history and predictions.

The convnet, its warm-up and its augmentation, every optimizer, short last batches, fillers, several shards, and widths
that divide nothing.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data.splits import to_features
from digits.params import TrainParams
from exactkeras.augment import VIEWS, RandomAffine, views
from exactkeras.oracle import F
from exactkeras.recipe import Recipe
from tests.support import reference
from tests.support.bits import Floats, assert_same_bits
from tests.support.networks import convnet, dense
from tests.support.project import Arrays

pytestmark = pytest.mark.usefixtures("tensorflow")
Data = tuple[Floats, NDArray[np.int32]]


class Case(NamedTuple):
    """A training: a network, on how many images of what size, in how many classes."""

    network: Any
    images: int
    image_shape: tuple[int, ...]
    classes: int
    shards: int
    validation: int = 0


CASES = {
    "dense, rmsprop": Case(dense(units=17, batch_size=16, epochs=2), 40, (28, 28), 10, shards=1, validation=13),
    "dense, adam": Case(dense(units=170, batch_size=25, epochs=2, optimizer="adam"), 60, (9, 13), 7, shards=3),
    "dense, sgd": Case(
        dense(units=33, batch_size=200, epochs=2, optimizer="sgd", learning_rate=0.1), 171, (28, 28), 3, shards=1
    ),
    "convnet": Case(convnet(filters=3, batch_size=8, epochs=2), 21, (28, 28), 10, shards=3, validation=5),
    "convnet, odd images": Case(convnet(filters=24, batch_size=5, optimizer="rmsprop"), 12, (13, 17), 5, shards=2),
    "convnet, RGB": Case(convnet(filters=4, batch_size=5), 12, (14, 13, 3), 4, shards=2, validation=3),
    "dense, RGB": Case(dense(units=20, batch_size=7), 20, (8, 9, 3), 3, shards=2),
}


def sample(digits: Arrays, case: Case, rows: slice) -> Data:
    """Return features and labels of some training images, cropped to their middle."""
    (height, width, *channels), images = case.image_shape, digits["x_train"][rows].astype(np.uint8)
    top, left = (28 - height) // 2, (28 - width) // 2
    images = images[:, top : top + height, left : left + width]
    if channels:
        images = np.stack([images, images // 2, images[::-1]], axis=3)
    return to_features(images), digits["y_train"][rows].astype(np.int32) % case.classes


def prepare(digits: Arrays, name: str) -> tuple[Any, Recipe, Data, Data | None]:
    """Return a network that is not trained yet, the recipe, and the splits."""
    import keras

    case = CASES[name]
    keras.utils.set_random_seed(3)
    network = case.network.build(case.image_shape, case.classes)
    recipe = case.network.recipe(TrainParams(model="dense", seed=5, shards=case.shards, device="cpu"), case.image_shape)
    validation = sample(digits, case, slice(case.images, case.images + case.validation)) if case.validation else None
    return network, recipe, sample(digits, case, slice(case.images)), validation


@pytest.mark.fast(1)
@pytest.mark.parametrize("name", CASES)
def test_the_training_in_numpy_has_the_same_bits(tensorflow: Any, digits: Arrays, name: str) -> None:
    from exactkeras.fit import fit, log_probabilities

    network, recipe, training, validation = prepare(digits, name)
    layers, first = reference.layers_of(network), network.get_weights()
    expected = reference.train(layers, *training, recipe)
    data, measured = (split and (*map(tensorflow.constant, split),) for split in (training, validation))
    history = fit(network, data, measured, recipe, verbose=0)  # type: ignore[arg-type]
    assert list(zip(history["loss"], history["accuracy"], strict=True)) == expected
    weights = [weights for layer in layers for weights in layer.weights]
    for start, found, defined in zip(first, network.get_weights(), weights, strict=True):
        assert_same_bits(found, defined)
        assert (found != start).any()
    if validation is not None:
        assert (history["val_loss"][-1], history["val_accuracy"][-1]) == reference.measured(layers, *validation)
    features = training[0][:11]
    found = log_probabilities(network, 20)(features)
    assert_same_bits(found, reference.log_probabilities(reference.forward(layers, features)))


@pytest.mark.fast(1)
@pytest.mark.parametrize("network", [dense(units=17), convnet(filters=3)])
def test_a_mean_over_views_has_the_bits_of_the_definition(network: Any) -> None:
    from exactkeras.fit import log_probabilities

    features = np.random.default_rng(0).random((5, 784), np.float32)
    model = network.build((28, 28), 10)
    found = log_probabilities(model, 7, views((28, 28), 3))(features)
    layers, affine = reference.layers_of(model), RandomAffine(28, 28, shift=1.0, distortion=1.0)
    seen = [reference.mapped(features, np.tile(np.array(numbers, np.float32), (5, 1)), affine) for numbers in VIEWS[:3]]
    mean = reference.added([reference.forward(layers, one) for one in seen]) * F(1 / 3)
    assert_same_bits(found, reference.log_probabilities(mean))
    assert (found != log_probabilities(model, 7)(features)).any()


def in_float64(a: Floats, b: Floats) -> Floats:
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)


#: Changed definitions, each of which differs in one rule.
OTHERS: dict[str, tuple[str, object]] = {
    "chains of 144": ("LONGEST", 144),
    "sums in float64": ("chain", in_float64),
    "rows added in order": ("fold", reference.added),
    "another exponential": ("exponential", lambda x: np.exp(x.astype(np.float64)).astype(np.float32)),
    "another logarithm": ("logarithm", lambda x: np.log(x.astype(np.float64)).astype(np.float32)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_definition_has_other_bits(digits: Arrays, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    def trained() -> tuple[bytes, list[tuple[float, float]]]:
        network, recipe, training, _ = prepare(digits, "dense, rmsprop")
        layers = reference.layers_of(network)
        history = reference.train(layers, *training, recipe)
        predicted = reference.log_probabilities(reference.forward(layers, training[0]))
        arrays = [predicted, *(weights for layer in layers for weights in layer.weights)]
        return b"".join(array.tobytes() for array in arrays), history

    expected = trained()
    assert trained() == expected
    monkeypatch.setattr(reference, *OTHERS[other])
    found = trained()
    assert found != expected
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)  # the same training all the same
