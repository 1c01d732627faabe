"""Predictions for a split contain every image once, for any batch size and number of cores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.data.npy import NpyFile
from digits.data.splits import Split, open_split
from digits.scoring.predictions import predict
from dvcproof.runtime import machine
from exactkeras.augment import views
from tests.support.arrays import sample_dataset, write_prepared
from tests.support.networks import convnet, dense
from tests.support.project import Arrays

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.fixture
def split(tmp_path: Path, digits: Arrays) -> Split:
    """Return the 100 test images of the small sample."""
    return open_split(write_prepared(tmp_path / "data", digits), "test", sample_dataset())


@pytest.fixture
def model() -> Any:
    """Return an untrained network."""
    return dense().build((28, 28), 10)


@pytest.mark.fast(1)
@pytest.mark.parametrize("network", [dense, convnet])
def test_every_image_is_predicted_in_order_to_the_same_bits(network: Any, split: Split) -> None:
    model = network().build((28, 28), 10)
    found = [predict(model, [split], batch_size)[0] for batch_size in (1, 33, 50, 100, 1000)]
    assert len({one.log_probabilities.tobytes() for one in found}) == 1
    assert found[0].log_probabilities.dtype == np.float32
    np.testing.assert_allclose(np.exp(found[0].log_probabilities), model(split.features.read()), atol=1e-6)
    np.testing.assert_array_equal(found[0].labels, split.labels)


def test_splits_of_any_size_are_predicted_as_if_alone(
    model: Any, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The predictions are the same on any number of cores."""
    np.save(tmp_path / "three.npy", split.features.rows(7, 10))
    three = Split(NpyFile(tmp_path / "three.npy", dtype="float32", shape=(None, 784)), split.labels[7:10])
    monkeypatch.setattr(machine, "cores", lambda: 1)
    few, many, _ = predict(model, [three, split, three], 33)
    monkeypatch.setattr(machine, "cores", lambda: 4)
    (again,) = predict(model, [three], 33)
    np.testing.assert_array_equal(few.log_probabilities, many.log_probabilities[7:10])
    np.testing.assert_array_equal(few.log_probabilities, again.log_probabilities)
    np.testing.assert_array_equal(many.labels, split.labels)


def test_views_are_averaged_and_one_is_the_image_itself(model: Any, split: Split) -> None:
    (plain,) = predict(model, [split], 33)
    one, three = (predict(model, [split], 33, views((28, 28), count))[0] for count in (1, 3))
    np.testing.assert_array_equal(one.log_probabilities, plain.log_probabilities)
    assert (three.log_probabilities != plain.log_probabilities).any()
    np.testing.assert_allclose(np.exp(three.log_probabilities).sum(axis=1), 1, atol=1e-5)
    (again,) = predict(model, [split], 100, views((28, 28), 3))
    np.testing.assert_array_equal(again.log_probabilities, three.log_probabilities)
