"""The splits: exact features, where each is cut, and that each is checked to the last value before it is used."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data import arrays
from digits.data.splits import SPLITS, open_split, split_rows, to_features
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset

DATASET = sample_dataset()
LABELS = np.array([0, 1, 9], np.uint8)


# Features and rows


def test_every_value_is_the_float_nearest_to_the_quotient() -> None:
    images = np.resize(np.arange(256, dtype=np.uint8), (1, 28, 28))
    features = to_features(images)
    assert (str(features.dtype), features.shape) == ("float32", (1, 784))
    for value, feature in zip(images.ravel(), features.ravel(), strict=True):
        assert feature == np.float32(int(value) / 255)


def test_images_of_any_size_become_features() -> None:
    assert to_features(np.zeros((3, 4, 5), np.uint8)).shape == (3, 20)
    assert to_features(np.zeros((0, 28, 28), np.uint8)).shape == (0, 784)


@pytest.mark.parametrize(
    ("split", "size", "expected"),
    [
        ("train", 0, (0, 10)),
        ("validation", 0, (10, 10)),
        ("test", 0, (0, 10)),
        ("train", 3, (0, 7)),
        ("validation", 3, (7, 10)),
        ("test", 3, (0, 10)),
    ],
)
def test_rows_of_a_split(split: str, size: int, expected: tuple[int, int]) -> None:
    assert split_rows(split, 10, size) == expected


def test_validation_is_cut_from_the_training_set() -> None:
    assert SPLITS == {"train": "train", "validation": "train", "test": "test"}


# Files


@pytest.fixture
def features() -> NDArray[np.float32]:
    """Three rows, with both ends of the range."""
    values = np.linspace(0, 1, 3 * 784, dtype=np.float32).reshape(3, 784)
    assert (values.min(), values.max()) == (0, 1)
    return values


def write(folder: Path, features: NDArray[np.generic], labels: NDArray[np.generic] = LABELS) -> Path:
    np.save(folder / "test_features.npy", features)
    np.save(folder / "test_labels.npy", labels)
    return folder


def test_a_good_split_is_opened(tmp_path: Path, features: NDArray[np.float32]) -> None:
    split = open_split(write(tmp_path, features), "test", DATASET)
    assert np.array_equal(split.features.rows(0, 3), features)
    assert np.array_equal(split.features.read(), features)
    assert split.labels.dtype == np.int32
    assert split.labels.tolist() == [0, 1, 9]


def test_the_data_set_says_how_many_classes_there_are(tmp_path: Path, features: NDArray[np.float32]) -> None:
    write(tmp_path, features, np.array([2, 0, 1], np.uint8))
    assert open_split(tmp_path, "test", sample_dataset(3)).labels.tolist() == [2, 0, 1]
    with pytest.raises(InputError, match=r"test_labels\.npy: expected labels from 0 to 1, .*\. Got 2 at position 0\."):
        open_split(tmp_path, "test", sample_dataset(2))


def test_the_data_set_says_how_large_images_are(tmp_path: Path, features: NDArray[np.float32]) -> None:
    wide = sample_dataset().model_copy(update={"image_shape": (14, 56)})
    narrow = sample_dataset().model_copy(update={"image_shape": (14, 14)})
    assert open_split(write(tmp_path, features), "test", wide).features.shape == (3, 784)
    with pytest.raises(InputError, match=r"expected float32 \[n, 196\]\. Got float32 \[3, 784\]\."):
        open_split(tmp_path, "test", narrow)


@pytest.fixture(params=[1, 2**22])
def _blocks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """One row at a time, and all at once."""
    monkeypatch.setattr(arrays, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.nan, "values from nan to nan"),
        (np.inf, r"values from 0\.\d+ to inf|values from 0\.0 to inf"),
        (-np.inf, "values from -inf to"),
        (np.nextafter(np.float32(1), np.float32(2)), r"values from .* to 1\.0000001"),
        (-np.float32(1e-45), r"values from -1\.4\d+e-45 to"),
        (255, r"to 255\.0"),
    ],
)
def test_a_value_outside_0_to_1_is_refused(
    tmp_path: Path,
    features: NDArray[np.float32],
    row: int,
    value: float,
    match: str,
) -> None:
    features[row, 300] = value
    with pytest.raises(InputError, match=rf"test_features\.npy: expected numbers in \[0, 1\]\. Got .*({match}).* Run"):
        open_split(write(tmp_path, features), "test", DATASET)


def test_minus_zero_is_a_number_in_the_range(tmp_path: Path, features: NDArray[np.float32]) -> None:
    features[0, 0] = -0.0
    assert len(open_split(write(tmp_path, features), "test", DATASET).labels) == 3


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.array([0, 1, 10], np.uint8), r"test_labels\.npy: expected labels from 0 to 9, .*\. Got 10 at position 2\."),
        (np.array([0, 1], np.uint8), r"expected as many labels as images\. Got 3 images and 2 labels\."),
        (np.array([0, 1, 9], np.int32), r"test_labels\.npy: expected uint8 \[n\]\. Got int32 \[3\]\."),
        (np.array([[0], [1], [9]], np.uint8), r"expected uint8 \[n\]\. Got uint8 \[3, 1\]\."),
    ],
)
def test_bad_labels_are_refused(
    tmp_path: Path, features: NDArray[np.float32], labels: NDArray[np.generic], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        open_split(write(tmp_path, features, labels), "test", DATASET)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("float64", r"expected float32 \[n, 784\]\. Got float64 \[3, 784\]\."),
        ("uint8", r"expected float32 \[n, 784\]\. Got uint8 \[3, 784\]\."),
        (">f4", r"expected float32 \[n, 784\]\. Got >f4 \[3, 784\]\."),
    ],
)
def test_features_of_another_type_are_refused(
    tmp_path: Path, features: NDArray[np.float32], change: str, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        open_split(write(tmp_path, features.astype(change)), "test", DATASET)


def test_features_of_another_shape_are_refused(tmp_path: Path, features: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match=re.escape("expected float32 [n, 784]. Got float32 [3, 28, 28].")):
        open_split(write(tmp_path, features.reshape(3, 28, 28)), "test", DATASET)


def test_only_the_validation_split_may_be_empty(tmp_path: Path) -> None:
    write(tmp_path, np.empty((0, 784), np.float32), LABELS[:0])
    assert len(open_split(tmp_path, "test", DATASET, may_be_empty=True).labels) == 0
    with pytest.raises(InputError, match=r"test_features\.npy: expected at least one row\. Got none\."):
        open_split(tmp_path, "test", DATASET)


@pytest.mark.parametrize("name", ["features", "labels"])
def test_a_missing_file_is_named(tmp_path: Path, features: NDArray[np.float32], name: str) -> None:
    (write(tmp_path, features) / f"test_{name}.npy").unlink()
    with pytest.raises(InputError, match=rf"test_{name}\.npy: expected .*\. Got no such file\. Run `dvc repro`"):
        open_split(tmp_path, "test", DATASET)
