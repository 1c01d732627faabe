"""The splits: exact features, the sizes of the splits, and checks of every value before its use."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data import npy
from digits.data.splits import choose_validation, open_split, spread, to_features
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset

DATASET = sample_dataset()
LABELS = np.array([0, 1, 9], np.uint8)
FEATURES = np.linspace(0, 1, 3 * 784, dtype=np.float32).reshape(3, 784)


def write(folder: Path, features: NDArray[np.generic] = FEATURES, labels: NDArray[np.generic] = LABELS) -> Path:
    np.save(folder / "test_features.npy", features)
    np.save(folder / "test_labels.npy", labels)
    return folder


def test_every_value_is_the_float_nearest_to_the_quotient() -> None:
    images = np.resize(np.arange(256, dtype=np.uint8), (1, 28, 28))
    features = to_features(images)
    assert (str(features.dtype), features.shape) == ("float32", (1, 784))
    assert features[0].tolist() == [np.float32(int(value) / 255) for value in images.ravel()]
    assert to_features(np.zeros((0, 4, 5), np.uint8)).shape == (0, 20)


@pytest.mark.parametrize("labels", [np.arange(1000) % 10, np.arange(1000) // 100])
def test_each_class_gives_its_share(labels: np.ndarray) -> None:
    assert np.bincount(labels[spread(labels, 100, "p")]).tolist() == [10] * 10
    assert np.flatnonzero(spread(np.zeros(101, int), 4, "p")).tolist() == [13, 38, 63, 88]


def test_a_class_keeps_its_only_image() -> None:
    labels = np.array([0] * 50 + [1] + [2] * 50)
    for count in (1, 20, 98):
        chosen = spread(labels, count, "p")
        assert chosen.sum() == count
        assert set(labels[~chosen]) == {0, 1, 2}
    with pytest.raises(InputError, match=r"'p': expected at most 98, so that each class keeps .* Got 99\. Set `p` to"):
        spread(labels, 99, "p")


SHUFFLED = np.random.default_rng(1).permutation(np.arange(6000) % 10)


@pytest.mark.parametrize("size", [0, 1, 9, 400, 5000])
def test_validation_is_the_end_of_a_shuffled_set(size: int) -> None:
    assert np.array_equal(choose_validation(SHUFFLED, size), np.arange(6000) >= 6000 - size)


UNFAIR = {
    "sorted": np.sort(SHUFFLED),
    "sorted from the last class on": np.sort(SHUFFLED)[::-1],
    "a class at the start": SHUFFLED[np.argsort(SHUFFLED != 3, kind="stable")],
    "the end sorted": np.r_[SHUFFLED[:3000], np.sort(SHUFFLED[3000:])],
}


@pytest.mark.parametrize("labels", UNFAIR.values(), ids=UNFAIR)
def test_validation_is_spread_where_the_end_is_no_fair_sample(labels: np.ndarray) -> None:
    assert np.bincount(labels[choose_validation(labels, 400)]).tolist() == [40] * 10


def test_validation_leaves_each_class_an_image() -> None:
    """Here the last images are a fair sample, but include the only image of a class."""
    labels = np.r_[SHUFFLED, 10, SHUFFLED[:100]]
    assert set(labels[~choose_validation(labels, 400)]) == {*range(11)}


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, np.nextafter(np.float32(1), np.float32(2)), -1e-45])
def test_a_value_outside_0_to_1_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int, value: float
) -> None:
    monkeypatch.setattr(npy, "BLOCK_BYTES", 1)
    features = FEATURES.copy()
    features[row, 300] = value
    with pytest.raises(InputError, match=r"test_features\.npy: expected numbers in \[0, 1\]\. Got values from .* Run"):
        open_split(write(tmp_path, features), "test", DATASET)


@pytest.mark.parametrize(
    ("features", "labels", "match"),
    [
        (FEATURES, np.array([0, 1, 10], np.uint8), r"test_labels\.npy: expected .* 9, .*\. Got 10 at position 2\."),
        (FEATURES, LABELS[:2], r"expected as many labels as images\. Got 3 images and 2 labels\."),
        (FEATURES, LABELS.astype(np.int32), r"test_labels\.npy: expected uint8 \[n\]\. Got int32 \[3\]\."),
        (FEATURES.reshape(3, 28, 28), LABELS, r"expected float32 \[n, 784\]\. Got float32 \[3, 28, 28\]\."),
        (FEATURES[:0], LABELS[:0], r"test_features\.npy: expected at least one row\. Got none\."),
    ],
)
def test_a_bad_split_is_refused(
    tmp_path: Path, features: NDArray[np.generic], labels: NDArray[np.generic], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        open_split(write(tmp_path, features, labels), "test", DATASET)


def test_a_validation_split_may_be_empty(tmp_path: Path) -> None:
    write(tmp_path, FEATURES[:0], LABELS[:0])
    assert len(open_split(tmp_path, "test", DATASET, may_be_empty=True).labels) == 0
