"""The description of a data set: right, the same from every source, and read back or refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from digits.data.dataset import Dataset, read_dataset, write_dataset
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.loading import run_load
from tests.support.project import ROOT, Arrays


def describe(folder: Path, arrays: Arrays) -> Dataset:
    """Return the description that `load` writes of these arrays."""
    np.savez(folder / "set.npz", **arrays)  # type: ignore[arg-type]
    run_load(folder, folder / "set.npz")
    return read_dataset(folder / "out" / "dataset.json")


def test_mnist_has_the_classes_and_counts_that_are_known(tmp_path: Path) -> None:
    run_load(tmp_path, ROOT / "data" / "mnist.npz")
    assert json.loads((tmp_path / "out" / "dataset.json").read_bytes()) == {  # facts with their default are left out
        "image_shape": [28, 28],
        "classes": [str(label) for label in range(10)],
        "images": {
            "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        },
        "ink": "light",
    }


def test_a_class_without_test_images_is_counted_as_none(tmp_path: Path, digits: Arrays) -> None:
    labels = {"y_train": (np.arange(600) % 12).astype(np.uint8), "y_test": np.full(200, 3, np.uint8)}
    dataset = describe(tmp_path, digits | labels)
    assert dataset.images.train == [50] * 12
    assert dataset.images.test == [200 if label == 3 else 0 for label in range(12)]


def test_what_was_done_to_the_images_is_kept(tmp_path: Path, digits: Arrays) -> None:
    changed = {name: 15 - digits[name][:, 4:].swapaxes(1, 2) // 16 for name in ("x_train", "x_test")}
    changed |= {name: digits[name].astype(int) + 1 for name in ("y_train", "y_test")}
    folder = tmp_path / "emnist"
    folder.mkdir()
    dataset = describe(folder, digits | {name: values.astype(np.uint8) for name, values in changed.items()})
    assert (dataset.image_shape, dataset.ink, dataset.highest, dataset.transposed) == ((24, 28), "dark", 15, True)
    assert dataset.classes == [str(label) for label in range(1, 11)]


# Read back


@pytest.mark.parametrize("classes", [2, 10, 256])
def test_it_is_read_as_it_was_written(tmp_path: Path, classes: int) -> None:
    dataset = sample_dataset(classes)
    write_dataset(tmp_path / "dataset.json", dataset)
    assert read_dataset(tmp_path / "dataset.json") == dataset


GOOD = sample_dataset().model_dump(mode="json")
BAD_FILES: dict[str, tuple[bytes | str | dict[str, object], str]] = {
    "empty": ("", "Invalid JSON"),
    "cut": (json.dumps(GOOD)[:-9], "Invalid JSON"),
    "no text": (b"\xff\xfe\x00", "Invalid JSON"),
    "nested too deep": ("[" * 10000, "Invalid JSON"),
    "a list": ("[]", "object"),
    "nothing": ("{}", "Field required"),
    "counts of one set": ({"images": {"train": [1] * 10}}, "Field required"),
    "a name too many": ({"colour": "red"}, "Extra inputs are not permitted"),
    "another ink": ({"ink": "blue"}, "Input should be 'light' or 'dark'"),
    "one class": ({"classes": ["0"]}, "at least 2 items"),
    "257 classes": ({"classes": [str(label) for label in range(257)]}, "at most 256 items"),
    "four channels": ({"image_shape": [28, 28, 4]}, "Tuple should have at most 2 items"),
    "a level above 255": ({"highest": 256}, "less than or equal to 255"),
    "a half count": ({"images": {"train": [0.5], "test": [1]}}, "valid integer"),
}


@pytest.mark.parametrize(("content", "match"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | str | dict[str, object], match: str) -> None:
    text = json.dumps(GOOD | content) if isinstance(content, dict) else content
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    expected = r"a\.json: expected the description of the data set that `load` writes\. Got a damaged file "
    with pytest.raises(InputError, match=rf"{expected}\(.*{re.escape(match)}.*\)\. Run `dvc repro`\.$"):
        read_dataset(tmp_path / "a.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a\.json: expected the description .*\. Got no such file\. Run `dvc repro`\."
    ):
        read_dataset(tmp_path / "a.json")
