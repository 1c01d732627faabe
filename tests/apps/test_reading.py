"""What is read in images, and when the answer is unsure."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.apps.neighbours import Neighbours
from digits.apps.reading import Classifier, Reader, open_reader, variations
from digits.data.dataset import write_dataset
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.project import Arrays

Images = NDArray[np.uint8]


def always(probability: float, label: int = 7) -> Classifier:
    """A model that gives one class this probability, whatever the image is."""
    row = np.full(10, (1 - probability) / 9)
    row[label] = probability
    return Classifier(list("0123456789"), lambda images: np.tile(row, (len(images), 1)))


@pytest.fixture
def raw(tmp_path: Path, digits: Arrays) -> Path:
    """A folder as `load` leaves it."""
    np.save(tmp_path / "train_images.npy", digits["x_train"])
    np.save(tmp_path / "train_labels.npy", digits["y_train"])
    write_dataset(tmp_path / "dataset.json", sample_dataset())
    return tmp_path


def unsure(reader: Reader, image: Images) -> bool:
    (reading,) = reader.read(image[np.newaxis])
    return reading.unsure


def test_three_reasons_to_be_unsure(raw: Path, digits: Arrays) -> None:
    neighbours = Neighbours(raw, sample_dataset())
    seven = digits["x_train"][digits["y_train"] == 7][0]
    sure = Reader(always(0.95), sample_dataset(), neighbours)
    assert not unsure(sure, seven)
    assert unsure(sure._replace(classifier=always(0.85)), seven)  # not probable enough
    assert unsure(sure._replace(classifier=always(0.95, label=1)), seven)  # most like images of another class
    dash = np.zeros((28, 28), np.uint8)
    dash[13:15, 4:24] = 255
    assert unsure(sure, dash)  # like no training image
    assert not unsure(sure._replace(neighbours=None), dash)


def test_an_image_is_most_similar_to_itself(raw: Path, digits: Arrays) -> None:
    similarity = Neighbours(raw, sample_dataset()).similarity(digits["x_train"][:50].astype(np.uint8))
    np.testing.assert_allclose(similarity[np.arange(50), digits["y_train"][:50]], 1, atol=1e-5)
    assert similarity.shape == (50, 10)
    assert (similarity.argmax(axis=1) == digits["y_train"][:50]).all()


@pytest.mark.parametrize("shape", [(9, 13, 3), (31, 28)])
def test_images_of_other_shapes_have_neighbours(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    np.save(tmp_path / "train_images.npy", images)
    np.save(tmp_path / "train_labels.npy", np.arange(20, dtype=np.uint8) % 2)
    dataset = sample_dataset(2).model_copy(update={"image_shape": shape})
    assert (Neighbours(tmp_path, dataset).similarity(images).argmax(axis=1) == np.arange(20) % 2).all()


def test_versions_are_turned_and_slanted_a_little(digits: Arrays) -> None:
    images = digits["x_test"][:10].astype(np.uint8)
    versions = variations(images)
    assert versions.shape == (9, 10, 28, 28)
    np.testing.assert_array_equal(versions[0], images)
    for version in versions[1:]:
        assert 1 < np.abs(version.astype(int) - images).mean() < 30
        assert int(version.sum()) == pytest.approx(int(images.sum()), rel=0.05)
    colours = np.repeat(images[..., np.newaxis], 3, axis=3)
    np.testing.assert_array_equal(variations(colours), np.repeat(versions[..., np.newaxis], 3, axis=4))


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


@pytest.mark.usefixtures("tensorflow")
def test_a_model_for_other_images_is_refused(raw: Path, trained: Path) -> None:
    assert open_reader(trained, raw / "dataset.json").classifier.names == list("0123456789")
    write_dataset(raw / "dataset.json", sample_dataset().model_copy(update={"image_shape": (32, 32)}))
    expected = r"model\.keras: expected a Keras model from \[n, 1024\] .*\(None, 784\) to .*\. Run `make repro`"
    with pytest.raises(InputError, match=expected):
        open_reader(trained, raw / "dataset.json")
