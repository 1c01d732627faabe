"""Training and prediction in this process, compared with Keras for several batch sizes; and invalid data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.data.npy import NpyFile
from digits.data.splits import to_features
from dvcproof.runtime.program import InputError
from exactkeras.recipe import Recipe
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import Arrays

Data = tuple[Any, Any]


@pytest.fixture(autouse=True)
def tf(tensorflow: Any) -> Any:
    """TensorFlow, with the same seed for each test."""
    import keras

    keras.utils.set_random_seed(0)
    return tensorflow


@pytest.fixture
def batch(tf: Any, digits: Arrays) -> Data:
    """Return features [600, 784] and labels [600] of the small sample."""
    return tf.constant(to_features(digits["x_train"].astype(np.uint8))), tf.constant(digits["y_train"].astype(np.int32))


def train(batch: Data, model: Any, validation: Data | None = None, **changes: Any) -> Any:
    """Train with four shards for one epoch, and return the history."""
    from exactkeras.fit import fit

    recipe = Recipe("rmsprop", 0.001, epochs=1, batch_size=128, shards=4, seed=0)
    return fit(model, batch, validation, recipe._replace(**changes), verbose=0)


def small() -> Any:
    return dense().build((28, 28), 10)


def weights(model: Any) -> bytes:
    return b"".join(array.tobytes() for array in model.get_weights())


def test_a_step_equals_the_step_of_plain_keras(batch: Data) -> None:
    """Shards only change the order of additions: one step agrees with Keras's own up to rounding."""
    import keras

    features, labels = batch[0][:127], batch[1][:127]
    ours, theirs = small(), small()
    theirs.set_weights(ours.get_weights())
    history = train((features, labels), ours, optimizer="sgd", learning_rate=0.1)
    sgd, loss = keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy"
    theirs.compile(optimizer=sgd, loss=loss, metrics=["accuracy"], jit_compile=False)
    before = theirs.get_weights()
    expected = theirs.fit(features, labels, batch_size=127, epochs=1, shuffle=False, verbose=0).history
    assert {name: pytest.approx(values, rel=1e-4) for name, values in expected.items()} == history
    for start, mine, other in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
        assert np.abs(mine - start).max() > 1e-4  # both moved


def stored(path: Path, features: Any) -> Any:
    """Put features on disk."""
    from exactkeras.batches import Stored

    np.save(path, features)
    return Stored(NpyFile(path, dtype="float32", shape=(None, 784)))


@pytest.mark.slow
def test_features_on_disk_train_to_the_same_bits(batch: Data, tmp_path: Path) -> None:
    """The validation split is on disk too, and the last batch is shorter."""
    import keras

    def trained(training: Data, validation: Data) -> Any:
        keras.utils.set_random_seed(0)
        model = convnet().build((28, 28), 10)
        recipe = convnet(epochs=2, batch_size=50).recipe(TRAIN, (28, 28))
        return train(training, model, validation, **recipe._asdict()), weights(model)

    held, more = ((batch[0][rows], batch[1][rows]) for rows in (slice(330), slice(330, 350)))
    on_disk = (stored(tmp_path / "a.npy", held[0]), held[1]), (stored(tmp_path / "b.npy", more[0]), more[1])
    expected = trained(held, more)
    assert trained(*on_disk) == expected
    assert trained((stored(tmp_path / "c.npy", held[0][::-1]), held[1]), more) != expected


def test_a_training_that_diverges_is_refused(batch: Data) -> None:
    with pytest.raises(
        InputError, match=r"^loss of epoch \d: it is (nan|inf)\. Check that every feature is finite, and lower"
    ):
        train(batch, small(), optimizer="sgd", learning_rate=1e38, epochs=3)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 1, 10], r"labels: expected 0 to 9\. Got 10\. Number the classes from 0"),
        ([0, -1, 1], r"labels: expected 0 to 9\. Got -1\. Number the classes from 0"),
        ([], r"data: 0 features and 0 labels\. .* at least one row\."),
        ([0.0, 1.0, 2.5], r"labels: their type is float32\. Give integers\."),
        ([0, 1], r"data: 3 features and 2 labels\. Give one label for each row"),
    ],
)
@pytest.mark.parametrize("split", ["training", "validation"])
def test_labels_outside_the_classes_are_refused(batch: Data, tf: Any, split: str, labels: Any, problem: str) -> None:
    good, bad = (
        (batch[0][:3], batch[1][:3]),
        (batch[0][: 3 if labels else 0], tf.constant(labels, None if labels else "int32")),
    )
    model = small()
    before = weights(model)
    with pytest.raises(InputError, match=f"^{split} {problem}"):
        train(*((bad, model) if split == "training" else (good, model, bad)))
    assert weights(model) == before


def test_rows_that_are_predicted_together_change_no_bit(batch: Data) -> None:
    from exactkeras.fit import log_probabilities

    model, features = small(), batch[0][:50].numpy()
    together, one_by_one = log_probabilities(model, 50)(features), log_probabilities(model, 1)
    np.testing.assert_array_equal(log_probabilities(model, 200)(features[:7]), together[:7])
    np.testing.assert_array_equal(np.concatenate([one_by_one(features[k : k + 1]) for k in range(50)]), together)


def test_weights_that_overflow_give_no_prediction(batch: Data) -> None:
    from exactkeras.fit import log_probabilities

    model = small()
    model.set_weights([np.full_like(weight, 3e38) for weight in model.get_weights()])
    with pytest.raises(InputError, match=r"the model: its probabilities are not finite, .* with a lower learning rate"):
        log_probabilities(model, 5)(batch[0][:5].numpy())
