"""The description of a data set: right, the same from every source, and read back or refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from digits.data.dataset import Dataset, read_dataset, require_image_shape, write_dataset
from digits.sources.arrays import IDX_NAMES
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset, write_idx
from tests.support.loading import run_load
from tests.support.project import ROOT, Arrays
from tests.support.server import Server


def describe(folder: Path, arrays: Arrays) -> Dataset:
    """The description that `load` writes of these arrays."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "set.npz", **arrays)  # type: ignore[arg-type]
    run_load(folder, folder / "set.npz")
    return read_dataset(folder / "out" / "dataset.json")


# The facts


def test_the_facts_are_those_of_the_arrays(tmp_path: Path, digits: Arrays) -> None:
    dataset = describe(tmp_path, digits)
    assert dataset.image_shape == (28, 28)
    assert dataset.classes == [str(label) for label in range(10)]
    for counts, labels in ((dataset.images.train, digits["y_train"]), (dataset.images.test, digits["y_test"])):
        assert counts == [int((labels == label).sum()) for label in range(10)]
    assert dataset.ink == "light"


def test_mnist_has_the_classes_and_counts_that_are_known(tmp_path: Path) -> None:
    run_load(tmp_path, ROOT / "data" / "mnist.npz")
    dataset = read_dataset(tmp_path / "out" / "dataset.json")
    assert (dataset.image_shape, len(dataset.classes), dataset.ink) == ((28, 28), 10, "light")
    assert (sum(dataset.images.train), sum(dataset.images.test)) == (60000, 10000)
    assert dataset.images.train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert dataset.images.test == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_class_without_test_images_is_counted_as_none(tmp_path: Path, digits: Arrays) -> None:
    labels = {"y_train": (np.arange(600) % 12).astype(np.uint8), "y_test": np.full(200, 3, np.uint8)}
    dataset = describe(tmp_path, digits | labels)
    assert dataset.classes == [str(label) for label in range(12)]
    assert dataset.images.train == [50] * 12
    assert dataset.images.test == [200 if label == 3 else 0 for label in range(12)]


def test_inverted_images_have_dark_ink_and_no_other_fact(tmp_path: Path, digits: Arrays) -> None:
    light = describe(tmp_path, digits)
    dark = describe(tmp_path, digits | {name: 255 - digits[name] for name in ("x_train", "x_test")})
    assert dark.model_copy(update={"form": light.form}) == light.model_copy(update={"ink": "dark"})


@pytest.mark.parametrize("name", ["x_train", "x_test"])
def test_the_ink_is_that_of_the_training_images(tmp_path: Path, digits: Arrays, name: str) -> None:
    ink = describe(tmp_path, digits | {name: 255 - digits[name]}).ink
    assert ink == ("dark" if name == "x_train" else "light")


def test_what_was_done_to_the_images_is_kept(tmp_path: Path, digits: Arrays) -> None:
    changed = {name: 15 - digits[name][:, 4:].swapaxes(1, 2) // 16 for name in ("x_train", "x_test")}
    changed |= {name: digits[name].astype(int) + 1 for name in ("y_train", "y_test")}
    folder = tmp_path / "emnist"
    dataset = describe(folder, digits | {name: values.astype(np.uint8) for name, values in changed.items()})
    assert (dataset.image_shape, dataset.ink, dataset.highest, dataset.transposed) == ((24, 28), "dark", 15, True)
    assert dataset.classes == [str(label) for label in range(1, 11)]


def test_where_nothing_was_done_nothing_is_written_of_it(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset.json", sample_dataset())
    assert set(json.loads((tmp_path / "dataset.json").read_bytes())) == {"image_shape", "classes", "images", "ink"}


@pytest.mark.parametrize("image_shape", [(8, 8), (128, 128), (28, 28, 3), (8, 128, 3)])
def test_images_of_these_forms_are_taken(image_shape: tuple[int, ...]) -> None:
    require_image_shape("images", image_shape)


@pytest.mark.parametrize(
    "image_shape", [(), (784,), (7, 28), (28, 7), (129, 28), (28, 129), (28, 28, 1), (28, 28, 4), (28, 28, 3, 1)]
)
def test_images_of_another_form_are_refused(image_shape: tuple[int, ...]) -> None:
    received = re.escape(f"Got [{', '.join(['n', *map(str, image_shape)])}]. Resize")
    with pytest.raises(InputError, match=rf"^images: expected images of 8 x 8 to 128 x 128 pixels, .*{received}"):
        require_image_shape("images", image_shape)


# The source


def test_the_source_changes_no_byte_of_it(tmp_path: Path, small_npz: Path, digits: Arrays, server: Server) -> None:
    server.files["small.npz"] = small_npz.read_bytes()
    np.savez(tmp_path / "another name.npz", **digits)  # type: ignore[arg-type]
    sources = {
        "npz": str(small_npz),
        "not compressed": str(tmp_path / "another name.npz"),
        "idx": str(write_idx(tmp_path / "plain", digits)),
        "packed": str(write_idx(tmp_path / "packed", digits, packed=IDX_NAMES)),
        "https": server.address("small.npz"),
    }
    written = {run_load(tmp_path / f"from {name}", source)["dataset.json"] for name, source in sources.items()}
    assert len(written) == 1
    assert "small" not in written.pop().decode()


def test_other_arrays_change_it(tmp_path: Path, small_npz: Path, digits: Arrays) -> None:
    before = run_load(tmp_path, small_npz)["dataset.json"]
    labels = digits["y_test"].copy()
    labels[0] = (labels[0] + 1) % 10
    np.savez(tmp_path / "other.npz", **(digits | {"y_test": labels}))  # type: ignore[arg-type]
    assert run_load(tmp_path, tmp_path / "other.npz")["dataset.json"] != before


# Read back


@pytest.mark.parametrize("classes", [2, 10, 256])
def test_it_is_read_as_it_was_written(tmp_path: Path, classes: int) -> None:
    dataset = sample_dataset(classes)
    write_dataset(tmp_path / "dataset.json", dataset)
    assert read_dataset(tmp_path / "dataset.json") == dataset


def test_it_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sample_dataset().ink = "dark"


GOOD = sample_dataset().model_dump(mode="json")


def without(name: str) -> str:
    return json.dumps({key: value for key, value in GOOD.items() if key != name})


BAD_FILES: dict[str, tuple[bytes | str, str]] = {
    "empty": ("", "Invalid JSON"),
    "cut": (json.dumps(GOOD)[:-9], "Invalid JSON"),
    "no text": (b"\xff\xfe\x00", "Invalid JSON"),
    "a list": ("[]", "object"),
    "nested too deep": ("[" * 10000, "Invalid JSON"),
    "no classes": (without("classes"), "Field required"),
    "no ink": (without("ink"), "Field required"),
    "no shape": (without("image_shape"), "Field required"),
    "no counts": (without("images"), "Field required"),
    "counts of one set": (json.dumps(GOOD | {"images": {"train": [1] * 10}}), "Field required"),
    "a name too many": (json.dumps(GOOD | {"colour": "red"}), "Extra inputs are not permitted"),
    "another ink": (json.dumps(GOOD | {"ink": "blue"}), "Input should be 'light' or 'dark'"),
    "one class": (json.dumps(GOOD | {"classes": ["0"]}), "at least 2 items"),
    "257 classes": (json.dumps(GOOD | {"classes": [str(label) for label in range(257)]}), "at most 256 items"),
    "a class that is no text": (json.dumps(GOOD | {"classes": [0, 1]}), "valid string"),
    "one side": (json.dumps(GOOD | {"image_shape": [28]}), "Field required"),
    "four channels": (json.dumps(GOOD | {"image_shape": [28, 28, 4]}), "Tuple should have at most 2 items"),
    "a level that is none": (json.dumps(GOOD | {"highest": 256}), "less than or equal to 255"),
    "a side that is no number": (json.dumps(GOOD | {"image_shape": [28, "wide"]}), "valid integer"),
    "a half count": (json.dumps(GOOD | {"images": {"train": [0.5], "test": [1]}}), "valid integer"),
}


@pytest.mark.parametrize(("content", "match"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | str, match: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = (
        rf"^{re.escape(str(path))}: expected the description of the data set that `load` writes\. "
        rf"Got a damaged file \(.*{re.escape(match)}.*\)\. Run `dvc repro`\.$"
    )
    with pytest.raises(InputError, match=line):
        read_dataset(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"dataset\.json: expected the description .*\. Got no such file\. Run `dvc repro`\."
    ):
        read_dataset(tmp_path / "dataset.json")
