"""The stage `preprocess`: exact features, the splits, and a refusal that changes nothing."""

import json
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data import arrays
from digits.data.dataset import write_dataset
from digits.data.splits import to_features
from stages import preprocess
from tests.support.arrays import sample_dataset, saved, snapshot, tiled
from tests.support.loading import KEYS
from tests.support.memory import TIMES, linux_only, peak_mebibytes
from tests.support.project import AT_ROOT, Arrays, run
from tests.support.refusal import refusal, refused_by

NAMES = [f"{split}_{kind}" for split in ("train", "validation", "test") for kind in ("features", "labels")]


def write_raw(folder: Path, digits: Arrays) -> Path:
    """The files that `load` writes, from the small sample."""
    folder.mkdir(exist_ok=True)
    for name, key in KEYS.items():
        np.save(folder / f"{name}.npy", digits[key])
    write_dataset(folder / "dataset.json", sample_dataset())
    return folder


@pytest.fixture
def raw(tmp_path: Path, digits: Arrays) -> Path:
    return write_raw(tmp_path / "raw", digits)


def prepare(raw: Path, validation_size: int = 0, out: str = "out") -> dict[str, NDArray[np.generic]]:
    """Run the stage, and give back what it wrote."""
    folder = raw.parent / out
    preprocess.preprocess(validation_size, raw, folder)
    return {path.stem: np.load(path) for path in folder.iterdir()}


def write_params(folder: Path, validation_size: object = 0) -> Path:
    path = folder / "params.yaml"
    path.write_text(json.dumps({"preprocess": {"validation_size": validation_size}}))
    return path


def refused(raw: Path, validation_size: object = 0) -> str:
    """Refuse the arrays, and leave earlier outputs as they are and nothing else behind. Gives back the line."""
    out = raw.parent / "out"
    out.mkdir()
    earlier = {f"{name}.npy": f"earlier {name}".encode() for name in NAMES}
    for name, content in earlier.items():
        (out / name).write_bytes(content)
    params = write_params(raw.parent, validation_size)
    line = refusal(preprocess.main, "--params", params, "--raw", raw, "--out", out)
    assert snapshot(out) == earlier
    return line


# Values and splits


def test_the_features_are_the_pixels_in_order(raw: Path, digits: Arrays) -> None:
    written = prepare(raw)
    for split in ("train", "test"):
        features, images = written[f"{split}_features"], digits[f"x_{split}"]
        assert (str(features.dtype), features.shape) == ("float32", (len(images), 784))
        assert (features.min(), features.max()) == (0, 1)
        assert np.array_equal(np.rint(features.astype(float) * 255), images.reshape(-1, 784))
        assert np.array_equal(written[f"{split}_labels"], digits[f"y_{split}"])
        assert written[f"{split}_labels"].dtype == np.uint8


@pytest.mark.parametrize("block_bytes", [1, 784 * 7, 784 * 600])
def test_the_size_of_the_blocks_changes_nothing(
    raw: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    whole = to_features(digits["x_train"].astype(np.uint8))
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    prepare(raw, 100)
    assert (raw.parent / "out" / "train_features.npy").read_bytes() == saved(whole[:500])
    assert (raw.parent / "out" / "validation_features.npy").read_bytes() == saved(whole[500:])


@pytest.mark.parametrize("size", [0, 1, 100, 599])
def test_validation_is_the_end_of_the_training_set(raw: Path, digits: Arrays, size: int) -> None:
    written = prepare(raw, size)
    assert sorted(written) == sorted(NAMES)
    assert [len(written[name]) for name in NAMES] == [600 - size] * 2 + [size] * 2 + [200] * 2
    for kind, key in (("features", "x_train"), ("labels", "y_train")):
        both = np.concatenate([written[f"train_{kind}"], written[f"validation_{kind}"]])
        whole = to_features(digits[key].astype(np.uint8)) if kind == "features" else digits[key]
        assert np.array_equal(both, whole)


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


@pytest.mark.parametrize("size", [600, 601, 10**30])
def test_a_validation_split_that_leaves_nothing_is_refused(raw: Path, size: int) -> None:
    line = refused(raw, size)
    assert "ERROR: parameter 'preprocess.validation_size': expected less than the 600 training images. " in line
    assert f"Got {size}. Leave images to train on." in line


# Arrays that are refused

Change = Callable[[bytes], bytes]


def array(change: Callable[[NDArray[np.uint8]], NDArray[np.generic]]) -> Change:
    """Change the array in a .npy file."""

    def changed(content: bytes) -> bytes:
        (length,) = struct.unpack("<H", content[8:10])
        values = np.frombuffer(content, np.uint8, offset=10 + length)
        return saved(change(values.reshape(-1, 28, 28) if values.size % 784 == 0 else values))

    return changed


BAD_RAW: dict[str, tuple[str, Change, str]] = {
    "cut": ("train_images", lambda content: content[:-1], r"Got 470527 bytes instead of 470528\. Run `dvc repro`"),
    "no values": ("test_labels", lambda content: content[:128], r"Got 128 bytes instead of 328\."),
    "a byte too many": ("test_labels", lambda content: content + b"\0", r"Got 329 bytes instead of 328\."),
    "empty file": ("test_labels", lambda _: b"", "Got a damaged or foreign file"),
    "text": ("train_labels", lambda _: b"hello, world", "Got a damaged or foreign file"),
    "wide labels": ("train_labels", array(lambda values: values.astype(np.int64)), r"uint8 \[n\]\. Got int64 \[600\]"),
    "float images": (
        "test_images",
        array(lambda values: values / np.float32(255)),
        r"expected uint8 \[n, 28, 28\]\. Got float32 \[200, 28, 28\]\.",
    ),
    "27 rows": ("test_images", array(lambda values: values[:, 1:]), r"Got uint8 \[200, 27, 28\]\."),
    "flat images": ("test_images", array(lambda values: values.reshape(-1, 784)), r"Got uint8 \[200, 784\]\."),
    "Fortran order": ("test_images", array(np.asfortranarray), r"Got uint8 \[200, 28, 28\] in Fortran order\."),
    "objects": ("test_labels", array(lambda values: values.astype(object)), r"uint8 \[n\]\. Got object \[200\]"),
    "fewer labels": (
        "test_labels",
        array(lambda values: values[1:]),
        r"test_images\.npy and .*test_labels\.npy: expected as many labels as images\. Got 200 images and 199 labels\.",
    ),
}


@pytest.mark.parametrize(("name", "change", "match"), BAD_RAW.values(), ids=BAD_RAW)
def test_a_bad_array_is_refused(raw: Path, name: str, change: Change, match: str) -> None:
    path = raw / f"{name}.npy"
    path.write_bytes(change(path.read_bytes()))
    assert re.search(rf"{name}\.npy.*{match}|{match}", refused(raw))


@pytest.mark.parametrize("name", KEYS)
def test_a_missing_array_is_refused(raw: Path, name: str) -> None:
    (raw / f"{name}.npy").unlink()
    assert re.search(rf"raw/{name}\.npy: expected uint8 .*\. Got no such file\. Run `dvc repro`", refused(raw))


@pytest.mark.parametrize("name", ["train", "test"])
def test_an_empty_set_is_refused(raw: Path, digits: Arrays, name: str) -> None:
    write_raw(raw, digits | {f"x_{name}": digits["x_test"][:0], f"y_{name}": digits["y_test"][:0]})
    assert f"{name}_images.npy: expected at least one row. Got none." in refused(raw)


def test_a_missing_folder_is_refused(raw: Path) -> None:
    raw.rename(raw.parent / "moved")
    assert (
        "raw/dataset.json: expected the description of the data set that `load` writes. Got no such file."
        in refused(raw)
    )


@pytest.mark.parametrize(("content", "received"), [(None, "no such file"), ("{}", r"a damaged file \(.*\)")])
def test_arrays_without_their_description_are_refused(raw: Path, content: str | None, received: str) -> None:
    (raw / "dataset.json").unlink()
    if content is not None:
        (raw / "dataset.json").write_text(content)
    line = rf"raw/dataset\.json: expected the description of the data set .*\. Got {received}\. Run `dvc repro`\.$"
    assert re.search(line, refused(raw))


def test_images_of_another_size_than_the_set_has_are_refused(raw: Path) -> None:
    write_dataset(raw / "dataset.json", sample_dataset().model_copy(update={"image_shape": (20, 20)}))
    assert "train_images.npy: expected uint8 [n, 20, 20]. Got uint8 [600, 28, 28]. Run `dvc repro`" in refused(raw)


def test_the_data_set_says_how_large_images_are(raw: Path, digits: Arrays) -> None:
    write_raw(raw, {key: values[:, 4:-4, 4:-8] if key[0] == "x" else values for key, values in digits.items()})
    write_dataset(raw / "dataset.json", sample_dataset().model_copy(update={"image_shape": (20, 16)}))
    written = prepare(raw)["test_features"]
    assert np.array_equal(np.rint(written.astype(float) * 255), digits["x_test"][:, 4:-4, 4:-8].reshape(200, 320))


def test_a_file_in_place_of_the_folder_is_refused(raw: Path) -> None:
    (raw.parent / "out").write_text("mine")
    params = write_params(raw.parent)
    line = refusal(preprocess.main, "--params", params, "--raw", raw, "--out", raw.parent / "out")
    assert "out: expected a folder. Got something else. Move it away" in line
    assert (raw.parent / "out").read_text() == "mine"


# The real command line


def test_the_command_line_writes_or_refuses_in_one_line(raw: Path) -> None:
    write_params(raw.parent, 100)
    command = (sys.executable, "-m", "stages.preprocess", "--params", "params.yaml", "--raw", "raw", "--out", "out")
    result = run(*command, cwd=raw.parent, env=AT_ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    written = snapshot(raw.parent / "out")
    assert sorted(written) == sorted(f"{name}.npy" for name in NAMES)
    (raw / "test_images.npy").write_bytes(b"")
    line = refused_by(run(*command, cwd=raw.parent, env=AT_ROOT))
    assert "ERROR: raw/test_images.npy: expected uint8 [n, 28, 28]. Got a damaged or foreign file" in line
    assert snapshot(raw.parent / "out") == written


# Memory


@pytest.mark.slow
@linux_only
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path, digits: Arrays) -> None:
    ours, naive = [], []
    for times in TIMES:
        raw = write_raw(tmp_path / "raw", tiled(digits, times))
        arguments = ("--params", write_params(tmp_path, 1000), "--raw", raw, "--out", tmp_path / "out")
        ours.append(peak_mebibytes("from stages.preprocess import main; main()", *arguments))
        naive.append(peak_mebibytes("import numpy; numpy.load(sys.argv[1]) / 255", raw / "train_images.npy"))
    assert np.load(tmp_path / "out" / "train_features.npy", mmap_mode="r").shape == (75800, 784)
    assert ours[1] - ours[0] < 4
    assert naive[1] - naive[0] > 40  # so the measure notices what is held whole
