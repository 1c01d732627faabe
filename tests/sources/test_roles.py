"""What files and arrays are for, by the names that people give them."""

import pytest

from digits.sources.roles import natural, plain, says_images, says_labels, split_of


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-images-idx3-ubyte", "train"),
        ("t10k-labels-idx1-ubyte (1).gz", "test"),
        ("qmnist-test-labels-idx2-int.gz", "test"),
        ("X_train.npy", "train"),
        ("trainX", "train"),
        ("ytest", "test"),
        ("mnist_test.csv", "test"),
        ("train/images.npy", "train"),
        ("train-test-split/test.csv", "test"),
        ("train.npz/X.npy", "train"),
        ("valid/3/1.png", "validation"),
        ("val_images.npy", "validation"),
        ("latest/contest.csv", None),
        ("constrained.npy", None),
        ("arr_0.npy", None),
    ],
)
def test_a_path_says_its_set(path: str, split: str | None) -> None:
    assert split_of(path) == split


@pytest.mark.parametrize("name", ["x", "X_train", "train_images", "kmnist-test-imgs.npz/arr_0.npy", "trainX", "pixels"])
def test_names_of_images(name: str) -> None:
    assert says_images(name)
    assert not says_labels(name)


@pytest.mark.parametrize(
    "name", ["y", "Y_test", "train_labels", "kmnist-test-labels.npz/arr_0.npy", "target", "classes"]
)
def test_names_of_labels(name: str) -> None:
    assert says_labels(name)
    assert not says_images(name)


def test_copies_have_one_plain_name() -> None:
    names = ["a/train-images-idx3-ubyte", "train-images.idx3-ubyte.gz", "train-images-idx3-ubyte (1).gz"]
    assert {plain(name) for name in names} == {"train-images-idx3-ubyte"}
    assert plain("emnist-digits-train") != plain("emnist-letters-train")


def test_numbers_in_names_are_ordered_as_numbers() -> None:
    assert sorted(["10.png", "9.png", "a2", "a10"], key=natural) == ["9.png", "10.png", "a2", "a10"]
