"""The description of a data set is right and the same from every source; damaged descriptions are refused."""

import json
import re
from pathlib import Path

import pytest

from digits.apps.card import MNIST
from digits.data.dataset import read_dataset, write_dataset
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import sample_dataset
from tests.support.project import ROOT


def test_mnist_has_the_classes_and_counts_that_are_known(tmp_path: Path) -> None:
    assert load(str(ROOT / "data" / "mnist.npz"), tmp_path / "out") == [  # as in Keras's first example
        "train_images  uint8 [60000, 28, 28]",
        "train_labels  uint8 [60000]: 5 0 4 ... 5 6 8",
        "test_images   uint8 [10000, 28, 28]",
        "test_labels   uint8 [10000]: 7 2 1 ... 4 5 6",
    ]
    assert {path.name: file_hash(path, "md5") for path in (tmp_path / "out").glob("*.npy")} == MNIST
    assert json.loads((tmp_path / "out" / "dataset.json").read_bytes()) == {  # default values are left out
        "image_shape": [28, 28],
        "classes": [str(label) for label in range(10)],
        "images": {
            "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        },
        "ink": "light",
    }


@pytest.mark.parametrize("classes", [2, 256])
def test_it_is_read_as_it_was_written(tmp_path: Path, classes: int) -> None:
    dataset = sample_dataset(classes)
    write_dataset(tmp_path / "dataset.json", dataset)
    assert read_dataset(tmp_path / "dataset.json") == dataset


GOOD = sample_dataset().model_dump(mode="json")
BAD_FILES: dict[str, tuple[str | dict[str, object] | None, str]] = {
    "missing": (None, "no such file"),
    "cut": (json.dumps(GOOD)[:-9], "Invalid JSON"),
    "counts of one set": ({"images": {"train": [1] * 10}}, "Field required"),
    "a name too many": ({"colour": "red"}, "Extra inputs are not permitted"),
    "four channels": ({"image_shape": [28, 28, 4]}, "Tuple should have at most 2 items"),
    "a level above 255": ({"highest": 256}, "less than or equal to 255"),
}


@pytest.mark.parametrize(("content", "match"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str | dict[str, object] | None, match: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(json.dumps(GOOD | content) if isinstance(content, dict) else content)
    expected = r"a\.json: expected the description of the data set that `load` writes\. Got "
    with pytest.raises(InputError, match=rf"{expected}.*{re.escape(match)}.*\. Run `dvc repro`\.$"):
        read_dataset(tmp_path / "a.json")
