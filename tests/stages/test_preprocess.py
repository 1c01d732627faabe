"""The stage `preprocess`: exact features, the splits, and a refusal that changes nothing."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data import npy
from digits.data.dataset import write_dataset
from digits.data.splits import choose_validation, to_features
from stages import preprocess
from tests.support.arrays import sample_dataset, saved, snapshot
from tests.support.loading import KEYS
from tests.support.project import AT_ROOT, Arrays, run
from tests.support.refusal import refusal

NAMES = [f"{split}_{kind}" for split in ("train", "validation", "test") for kind in ("features", "labels")]


def write_raw(folder: Path, digits: Arrays) -> Path:
    """Write the files that `load` writes, from the small sample."""
    folder.mkdir(exist_ok=True)
    for name, key in KEYS.items():
        np.save(folder / f"{name}.npy", digits[key])
    write_dataset(folder / "dataset.json", sample_dataset())
    return folder


@pytest.fixture
def raw(tmp_path: Path, digits: Arrays) -> Path:
    return write_raw(tmp_path / "raw", digits)


def prepare(raw: Path, validation_size: int = 0, out: str = "out") -> dict[str, NDArray[np.generic]]:
    """Run the stage, and return the arrays that it wrote."""
    preprocess.preprocess(validation_size, raw, raw.parent / out)
    return {path.stem: np.load(path) for path in (raw.parent / out).iterdir()}


def write_params(folder: Path, validation_size: object = 0) -> Path:
    path = folder / "params.yaml"
    path.write_text(json.dumps({"preprocess": {"validation_size": validation_size}}))
    return path


def refused(raw: Path, validation_size: object = 0) -> str:
    """Check that the arrays are refused and nothing is written, and return the line."""
    out, params = raw.parent / "out", write_params(raw.parent, validation_size)
    line = refusal(preprocess.main, "--params", params, "--raw", raw, "--out", out)
    assert not out.exists()
    return line


@pytest.mark.parametrize(("size", "block_bytes"), [(0, 784 * 600), (1, 784 * 7), (300, 1)])
def test_validation_is_the_end_of_the_training_set(
    raw: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, size: int, block_bytes: int
) -> None:
    monkeypatch.setattr(npy, "BLOCK_BYTES", block_bytes)
    prepare(raw, size)
    features = {name: to_features(digits[f"x_{name}"].astype(np.uint8)) for name in ("train", "test")}
    expected = {
        "train_features": features["train"][: 600 - size],
        "train_labels": digits["y_train"][: 600 - size],
        "validation_features": features["train"][600 - size :],
        "validation_labels": digits["y_train"][600 - size :],
        "test_features": features["test"],
        "test_labels": digits["y_test"],
    }
    written = snapshot(raw.parent / "out")
    assert written == {f"{name}.npy": saved(values) for name, values in expected.items()}


@pytest.mark.parametrize("size", [599, 10**30])
def test_a_validation_split_that_leaves_nothing_is_refused(raw: Path, size: int) -> None:
    line = refused(raw, size)
    assert "'preprocess.validation_size': expected at most 590, so that each class keeps an image to train on." in line
    assert f"Got {size}. Set `preprocess.validation_size` to a smaller number in params.yaml." in line


#: Damaged inputs of the stage. tests/data/test_npy.py has further cases.
BAD_RAW: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("train_labels.npy", Path.unlink, r"expected uint8 \[n\]\. Got no such file\. Run `dvc repro`"),
    "fewer labels": (
        "test_labels.npy",
        lambda path: np.save(path, np.load(path)[1:]),
        r": .*\. Got 200 images and 199 labels\.",
    ),
    "no description": ("dataset.json", Path.unlink, r"expected the description .*\. Got no such file\. Run"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "match"), BAD_RAW.values(), ids=BAD_RAW)
def test_a_bad_file_is_refused(raw: Path, name: str, change: Callable[[Path], object], match: str) -> None:
    change(raw / name)
    assert re.search(rf"{name}.*{match}", refused(raw))


@pytest.mark.parametrize("name", ["train", "test"])
def test_an_empty_set_is_refused(raw: Path, digits: Arrays, name: str) -> None:
    write_raw(raw, digits | {f"x_{name}": digits["x_test"][:0], f"y_{name}": digits["y_test"][:0]})
    assert f"{name}_images.npy: expected at least one row. Got none." in refused(raw)


def test_the_command_line_writes_in_silence(raw: Path) -> None:
    write_params(raw.parent, 100)
    command = (sys.executable, "-m", "stages.preprocess", "--params", "params.yaml", "--raw", "raw", "--out", "out")
    result = run(*command, cwd=raw.parent, env=AT_ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert sorted(snapshot(raw.parent / "out")) == sorted(f"{name}.npy" for name in NAMES)


@pytest.mark.parametrize("block_bytes", [784 * 7, 784 * 600])
def test_validation_of_a_sorted_set_has_every_class(
    raw: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    """Check the printed line, that each image keeps its label, and that no image is in two splits."""
    monkeypatch.setattr(npy, "BLOCK_BYTES", block_bytes)
    order = np.argsort(digits["y_train"], kind="stable")
    images, labels = (digits[name][order] for name in ("x_train", "y_train"))
    write_raw(raw, digits | {"x_train": images, "y_train": labels})
    said = preprocess.preprocess(100, raw, raw.parent / "out")
    end = "spread evenly over each class, since the last 100 are not a fair sample"
    assert said == f"validation set: 100 of the 600 training images, {end}\n"
    chosen = choose_validation(labels, 100)
    written = prepare(raw, 100)
    for split, mask in (("train", ~chosen), ("validation", chosen)):
        assert np.array_equal(written[f"{split}_labels"], labels[mask])
        assert np.array_equal(written[f"{split}_features"], to_features(images[mask].astype(np.uint8)))


@pytest.mark.parametrize(("changed", "touched"), [("test", {"test"}), ("train", {"train", "validation"})])
def test_the_test_set_is_never_used_for_anything_else(
    raw: Path, digits: Arrays, changed: str, touched: set[str]
) -> None:
    before = prepare(raw, 100)
    images, labels = digits[f"x_{changed}"], digits[f"y_{changed}"]
    write_raw(raw, digits | {f"x_{changed}": 255 - images, f"y_{changed}": 9 - labels})
    after = prepare(raw, 100, out="after")
    for name in NAMES:
        assert np.array_equal(before[name], after[name]) is (name.split("_")[0] not in touched)
