"""Classes and probabilities that are read in images, and answers that are unsure."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.apps.reading import Classifier, Neighbours, Reader, open_classifier, variations
from digits.data.dataset import write_dataset
from digits.data.splits import open_split, to_features
from digits.scoring.predictions import predict
from tests.support.arrays import sample_dataset
from tests.support.project import Arrays

Images = NDArray[np.uint8]


def always(probability: float, label: int = 7) -> Classifier:
    """Return a model that gives one class this probability for every image."""
    row = np.full(10, (1 - probability) / 9)
    row[label] = probability
    return Classifier(list("0123456789"), lambda images: np.tile(row, (len(images), 1)))


@pytest.fixture
def raw(tmp_path: Path, digits: Arrays) -> Path:
    """Return a folder with the outputs of `load`."""
    np.save(tmp_path / "train_images.npy", digits["x_train"])
    np.save(tmp_path / "train_labels.npy", digits["y_train"])
    write_dataset(tmp_path / "dataset.json", sample_dataset())
    return tmp_path


def unsure(reader: Reader, image: Images) -> bool:
    (reading,) = reader.read(image[np.newaxis])
    return reading.unsure


def test_three_reasons_to_be_unsure(raw: Path, digits: Arrays) -> None:
    seven = digits["x_train"][digits["y_train"] == 7][0]
    sure = Reader(always(0.95), sample_dataset(), Neighbours(raw, sample_dataset()))
    assert not unsure(sure, seven)
    assert unsure(sure._replace(classifier=always(0.85)), seven)  # not probable enough
    assert unsure(sure._replace(classifier=always(0.95, label=1)), seven)  # most similar to images of another class
    dash = np.zeros((28, 28), np.uint8)
    dash[13:15, 4:24] = 255
    assert unsure(sure, dash)  # similar to no training image
    assert not unsure(sure._replace(neighbours=None), dash)


def test_versions_are_rotated_and_slanted_a_little(digits: Arrays) -> None:
    images = digits["x_test"][:10].astype(np.uint8)
    versions = variations(images)
    np.testing.assert_array_equal(versions[0], images)
    assert len(versions) == 9
    for version in versions[1:]:
        assert 1 < np.abs(version.astype(int) - images).mean() < 30
        assert int(version.sum()) == pytest.approx(int(images.sum()), rel=0.05)


def test_things_are_read_as_they_are() -> None:
    seen = []

    def probabilities(images: Images) -> NDArray[np.float64]:
        seen.append(images)
        return np.tile([0.95, 0.05], (len(images), 1))

    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    dataset = sample_dataset(2).model_copy(update={"form": None})
    readings = Reader(Classifier(["cat", "dog"], probabilities), dataset, None).read(images)
    np.testing.assert_array_equal(np.concatenate(seen), images)
    assert [(one.predicted, one.probability, one.unsure) for one in readings] == [("cat", 0.95, False)] * 3


def test_the_probabilities_are_those_of_evaluate(trained: Path, digits: Arrays, tmp_path: Path) -> None:
    import keras

    images = digits["x_test"][:60].astype(np.uint8)
    np.save(tmp_path / "test_features.npy", to_features(images))
    np.save(tmp_path / "test_labels.npy", np.zeros(len(images), np.uint8))
    model = keras.models.load_model(trained, compile=False)
    (found,) = predict(model, [open_split(tmp_path, "test", sample_dataset())], 100)
    probabilities = open_classifier(trained).probabilities(images)
    np.testing.assert_allclose(probabilities, np.exp(found.log_probabilities), atol=1e-6)
