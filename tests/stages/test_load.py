"""The stage `load`: four arrays, unchanged, and what they are, or a refusal that changes nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from digits.data.dataset import read_dataset
from dvcproof.runtime.program import InputError
from stages import load
from tests.support.arrays import snapshot, tiled, write_load_params
from tests.support.loading import KEYS, OUTPUTS, refused, run_load
from tests.support.memory import TIMES, linux_only, peak_mebibytes
from tests.support.project import AT_ROOT, ROOT, Arrays, run
from tests.support.refusal import refusal, refused_by


def test_the_arrays_are_those_of_the_source(tmp_path: Path, small_npz: Path, digits: Arrays) -> None:
    written = run_load(tmp_path, small_npz)
    assert set(written) == OUTPUTS
    for name, key in KEYS.items():
        array = np.load(tmp_path / "out" / f"{name}.npy")
        assert array.dtype == np.uint8
        assert np.array_equal(array, digits[key])


@pytest.mark.parametrize("block_bytes", [7, 999, 784 * 600])
def test_the_size_of_the_blocks_changes_nothing(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    whole = run_load(tmp_path / "whole", small_npz)
    monkeypatch.setattr("digits.sources.stream.BLOCK_BYTES", block_bytes)
    assert run_load(tmp_path / "blocks", small_npz) == whole


Change = Callable[[Arrays], object]
IMAGES = r"expected images \[n, height, width\], .*\. Got "
BAD_ARRAYS: dict[str, tuple[Change, str]] = {
    "27 rows": (
        lambda a: a.update(x_test=a["x_test"][:, :27]),
        r"x_test in .*: expected images as those of x_train in .*, 28 x 28\. Got 27 x 28 pixels\.",
    ),
    "7 rows": (lambda a: a.update(x_test=a["x_test"][:, :7]), rf"x_test in .*{IMAGES}uint8 \[200, 7, 28\]"),
    "two channels": (
        lambda a: a.update(x_test=np.stack([a["x_test"]] * 2, axis=3)),
        rf"x_test in .*{IMAGES}uint8 \[200, 28, 28, 2\]",
    ),
    "complex numbers": (lambda a: a.update(x_test=a["x_test"].astype(complex)), r"pixels as numbers\. Got complex128"),
    "labels of three dimensions": (
        lambda a: a.update(y_test=a["y_test"][:, None, None]),
        r"y_test in .*: expected labels \[n\], \[n, 1\] or one-hot \[n, classes\]\. Got uint8 \[200, 1, 1\]",
    ),
    "a single label": (
        lambda a: a.update(y_test=np.array(3, np.uint8)),
        r"y_test in .*\[n, classes\]\. Got uint8 \[\]",
    ),
    "fewer labels": (
        lambda a: a.update(y_train=a["y_train"][1:]),
        r"x_train in .* and y_train in .*: expected as many labels as images\. Got 600 images and 599 labels\.",
    ),
    "more labels": (lambda a: a.update(x_test=a["x_test"][1:]), "Got 199 images and 200 labels"),
    "no training images": (
        lambda a: a.update(x_train=a["x_train"][:0], y_train=a["y_train"][:0]),
        r"x_train in .*: expected at least one image\. Got uint8 \[0, 28, 28\]",
    ),
    "no test images": (
        lambda a: a.update(x_test=a["x_test"][:0], y_test=a["y_test"][:0]),
        r"x_test in .*: expected at least one image\.",
    ),
    "a label of 10": (
        lambda a: a.update(y_test=np.where(np.arange(200) == 150, 10, a["y_test"]).astype(np.uint8)),
        r"y_test in .*: expected the classes of the training set: 0, 1, .*, 9\. Got 10 at position 150\. ",
    ),
    "no 3 in the training set": (
        lambda a: a.update(y_train=np.where(a["y_train"] == 3, 4, a["y_train"]).astype(np.uint8)),
        r"y_test in .*: expected the classes of the training set: 0, 1, 2, 4, .*\. Got 3 at position 18\. ",
    ),
    "one class": (
        lambda a: a.update(y_train=a["y_train"] * 0, y_test=a["y_test"] * 0),
        r"y_train in .*: expected labels of 2 to 256 classes\. Got label 0 only\. Add images of another class\.",
    ),
}


@pytest.mark.parametrize(("change", "match"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_of_another_form_are_refused(tmp_path: Path, digits: Arrays, change: Change, match: str) -> None:
    changed = dict(digits)
    change(changed)
    np.savez(tmp_path / "bad.npz", **changed)  # type: ignore[arg-type]
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))


def test_the_position_of_a_wrong_label_is_that_in_the_set(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("digits.sources.stream.BLOCK_BYTES", 64)
    change, match = BAD_ARRAYS["a label of 10"]
    changed = dict(digits)
    change(changed)
    np.savez(tmp_path / "bad.npz", **changed)  # type: ignore[arg-type]
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))


def with_classes(path: Path, digits: Arrays, classes: int) -> Path:
    """Write the sample with other labels: each of `classes` classes has training images, the last one a test image."""
    labels = {"y_train": np.arange(600) % classes, "y_test": np.arange(200) % classes}
    labels["y_test"][-1] = classes - 1
    np.savez(path, **(digits | {name: values.astype(np.uint8) for name, values in labels.items()}))  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("classes", [2, 10, 255, 256])
def test_the_labels_say_how_many_classes_there_are(tmp_path: Path, digits: Arrays, classes: int) -> None:
    run_load(tmp_path, with_classes(tmp_path / "data.npz", digits, classes))
    assert np.load(tmp_path / "out" / "test_labels.npy")[-1] == classes - 1
    assert read_dataset(tmp_path / "out" / "dataset.json").classes == [str(label) for label in range(classes)]


def test_names_of_the_classes_change_no_output(tmp_path: Path, small_npz: Path) -> None:
    for name in ("names", "none"):
        (tmp_path / name).mkdir()
        params = write_load_params(tmp_path / name, small_npz)
        if name == "names":  # one more than there are classes: `evaluate` refuses it
            document = json.loads(params.read_text()) | {"class_names": [f"class {label}" for label in range(11)]}
            params.write_text(json.dumps(document))
        result = command_line(tmp_path / name, "--params", "params.yaml", "--out", "raw")
        assert (result.returncode, result.stderr) == (0, "")
    assert snapshot(tmp_path / "names" / "raw") == snapshot(tmp_path / "none" / "raw")


@pytest.mark.parametrize("case", ["a label of 10", "no 3 in the training set"])
def test_labels_are_checked_before_anything_is_written(
    tmp_path: Path, digits: Arrays, small_npz: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    written = []

    def write(path: Path, *, blocks: Iterable[object], **_: object) -> None:
        assert list(blocks)
        written.append(path)
        path.touch()

    monkeypatch.setattr(load, "write_npy", write)
    change, match = BAD_ARRAYS[case]
    changed = dict(digits)
    change(changed)
    np.savez(tmp_path / "bad.npz", **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=match):
        load.load(str(tmp_path / "bad.npz"), tmp_path / "out", test_size=0)
    assert not written
    assert not (tmp_path / "out").exists()
    load.load(str(small_npz), tmp_path / "out", test_size=0)
    assert len(written) == 4  # so the list would have shown it


# What is brought to the stored form


def test_the_classes_are_numbered_and_keep_their_names(tmp_path: Path, digits: Arrays) -> None:
    some = {name: np.isin(digits[f"y_{name}"], (3, 7)) for name in ("train", "test")}
    chosen = {name: values[some[name[2:]]] for name, values in digits.items()}
    np.savez(tmp_path / "some.npz", **chosen)  # type: ignore[arg-type]
    lines = load.load(str(tmp_path / "some.npz"), tmp_path / "out")
    assert lines[4:] == ["labels: 3, 7 numbered from 0 to 1"]
    assert read_dataset(tmp_path / "out" / "dataset.json").classes == ["3", "7"]
    labels = np.load(tmp_path / "out" / "train_labels.npy")
    assert np.array_equal(labels, (chosen["y_train"] == 7).astype(np.uint8))


def test_dark_ink_gives_the_arrays_of_light_ink(tmp_path: Path, digits: Arrays, small_npz: Path) -> None:
    light = run_load(tmp_path / "light", small_npz)
    np.savez(tmp_path / "dark.npz", **(digits | {name: 255 - digits[name] for name in ("x_train", "x_test")}))  # type: ignore[arg-type]
    dark = run_load(tmp_path / "dark", tmp_path / "dark.npz")
    assert {name for name in OUTPUTS if dark[name] != light[name]} == {"dataset.json"}


@pytest.mark.parametrize("form", [(8, 8), (28, 16), (32, 24, 3)])
def test_images_of_any_size_and_colour_are_stored(tmp_path: Path, digits: Arrays, form: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    images = {
        f"x_{name}": random.integers(0, 256, (count, *form), np.uint8)
        for name, count in (("train", 600), ("test", 200))
    }
    np.savez(tmp_path / "set.npz", **(digits | images))
    run_load(tmp_path, tmp_path / "set.npz")
    assert read_dataset(tmp_path / "out" / "dataset.json").image_shape == form
    assert np.array_equal(np.load(tmp_path / "out" / "test_images.npy"), images["x_test"])


def write_transpose(folder: Path, source: Path, value: object) -> Path:
    path = write_load_params(folder, source)
    path.write_text(json.dumps({"load": {"source": str(source), "test_size": 0, "transpose": value}}))
    return path


@pytest.mark.slow
def test_the_command_line_turns_images_and_says_so(tmp_path: Path, digits: Arrays, small_npz: Path) -> None:
    right = run_load(tmp_path / "right", small_npz)
    lying = {name: digits[name].swapaxes(1, 2) for name in ("x_train", "x_test")}
    np.savez(tmp_path / "set.npz", **(digits | lying))  # type: ignore[arg-type]
    for value, end in (
        ("auto", "which ends this warning\n"),
        (True, "images: height and width exchanged\n"),
        (False, " 6 4 2\n"),
    ):
        write_transpose(tmp_path, tmp_path / "set.npz", value)
        result = command_line(tmp_path, "--params", "params.yaml", "--out", f"out {value}")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.endswith(end)
        assert ("WARNING" in result.stdout) is (value == "auto")
        written = (tmp_path / f"out {value}" / "train_images.npy").read_bytes()
        assert (written == right["train_images.npy"]) is (value is True)


@pytest.mark.parametrize("value", ["yes", 1, None, "true"])
def test_another_value_of_transpose_is_refused(tmp_path: Path, small_npz: Path, value: object) -> None:
    line = refusal(load.main, "--params", write_transpose(tmp_path, small_npz, value), "--out", tmp_path / "out")
    assert "parameter 'load.transpose' in " in line
    assert "expected true, false or auto: whether height and width of the images are to be exchanged" in line


# Outputs that cannot be written


def run_main(folder: Path, source: Path, out: str | Path) -> str:
    return refusal(load.main, "--params", write_load_params(folder, source), "--out", out)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, small_npz: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert "out: expected a folder. Got something else. Move it away" in run_main(tmp_path, small_npz, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_in_place_of_an_output_is_refused_and_kept(tmp_path: Path, small_npz: Path) -> None:
    mine = tmp_path / "out" / "test_labels.npy" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    line = run_main(tmp_path, small_npz, tmp_path / "out")
    assert "test_labels.npy: expected a file, or nothing yet. Got a folder." in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["test_labels.npy"]
    assert mine.read_text() == "mine"


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder where even root cannot write")
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, small_npz: Path) -> None:
    line = run_main(tmp_path, small_npz, "/sys/digits")
    assert re.search(r"ERROR: /sys/digits: expected to read or write it\. Got .*\. Check the path, its perm", line)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path, small_npz: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert "out: expected to read or write it. Got Permission denied." in run_main(
        tmp_path, small_npz, tmp_path / "out"
    )


FULL_DISK = """
import resource, sys
from dvcproof.runtime.program import run
from stages.load import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
run(main)
"""


def test_a_disk_that_fills_up_leaves_the_earlier_outputs(tmp_path: Path, small_npz: Path) -> None:
    earlier = tmp_path / "out" / "train_images.npy"
    earlier.parent.mkdir()
    earlier.write_text("earlier")
    command = (sys.executable, "-c", FULL_DISK, "--params", str(write_load_params(tmp_path, small_npz)))
    result = run(*command, "--out", "out", cwd=tmp_path, env=AT_ROOT)
    assert "ERROR: out: expected to read or write it. Got File too large." in refused_by(result)
    assert snapshot(earlier.parent) == {"train_images.npy": b"earlier"}


def test_nothing_is_made_for_a_source_that_is_refused_at_once(tmp_path: Path) -> None:
    assert "no such file or folder" in run_main(tmp_path, tmp_path / "missing.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The real command line


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "stages.load", *arguments, cwd=folder, env=AT_ROOT)


def test_the_command_line_writes_and_describes_the_arrays(tmp_path: Path, small_npz: Path, digits: Arrays) -> None:
    write_load_params(tmp_path, small_npz.name)
    result = command_line(tmp_path, "--params", "params.yaml", "--out", "raw")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "train_images  uint8 [600, 28, 28]\n"
        "train_labels  uint8 [600]: 5 0 4 ... 6 6 7\n"
        "test_images   uint8 [200, 28, 28]\n"
        "test_labels   uint8 [200]: 7 2 1 ... 6 4 2\n"
    )
    assert set(snapshot(tmp_path / "raw")) == OUTPUTS
    assert np.array_equal(np.load(tmp_path / "raw" / "train_images.npy"), digits["x_train"])


# What Keras's first example shows of the data set: `train_images.shape`, `len(train_labels)`, `train_labels`, ...
def test_of_mnist_it_prints_what_the_first_example_shows(tmp_path: Path) -> None:
    assert load.load(str(ROOT / "data" / "mnist.npz"), tmp_path, test_size=0) == [
        "train_images  uint8 [60000, 28, 28]",
        "train_labels  uint8 [60000]: 5 0 4 ... 5 6 8",
        "test_images   uint8 [10000, 28, 28]",
        "test_labels   uint8 [10000]: 7 2 1 ... 4 5 6",
    ]


@pytest.mark.parametrize(
    ("length", "shown"), [(2, "0 1"), (6, "0 1 2 3 4 5"), (7, "0 1 2 ... 4 5 6"), (10, "0 1 2 ... 7 8 9")]
)
def test_few_labels_are_printed_whole(tmp_path: Path, digits: Arrays, length: int, shown: str) -> None:
    images, labels = digits["x_test"][:length], np.arange(length, dtype=np.uint8)
    np.savez(tmp_path / "few.npz", x_train=images, y_train=labels, x_test=images[:1], y_test=labels[:1])
    lines = load.load(str(tmp_path / "few.npz"), tmp_path / "out", test_size=0)
    assert lines[1] == f"train_labels  uint8 [{length}]: {shown}"
    assert lines[3] == "test_labels   uint8 [1]: 0"


@pytest.mark.fast(2)
@pytest.mark.parametrize(
    ("source", "match"),
    [
        (
            "missing.npz",
            r"^ERROR: data set 'missing\.npz': expected .* Got no such file or folder\. Set `load\.source`",
        ),
        ("http://localhost/a.npz#sha256=" + "0" * 64, "Got an address without https or without a SHA-256. Use https"),
        ("params.yaml", r"^ERROR: params\.yaml: expected a data set: \.npz, .* Got JSON\. Save the arrays with NumPy"),
        (
            "empty",
            r"^ERROR: empty: expected a data set: \.npz, .* Got an empty folder or archive\. Set `load\.source` in",
        ),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path: Path, small_npz: Path, source: str, match: str) -> None:
    assert small_npz.is_file()
    (tmp_path / "empty").mkdir()
    write_load_params(tmp_path, source)
    assert re.search(match, refused_by(command_line(tmp_path, "--params", "params.yaml", "--out", "raw")))
    assert not (tmp_path / "raw").exists()


def test_the_command_line_wants_its_paths(tmp_path: Path) -> None:
    result = command_line(tmp_path)
    assert result.returncode == 2
    assert "the following arguments are required: --params, --out" in result.stderr


# Memory


@pytest.mark.slow
@linux_only
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path, digits: Arrays) -> None:
    ours, naive = [], []
    for times in TIMES:
        np.savez(tmp_path / "data.npz", **tiled(digits, times))  # type: ignore[arg-type]
        params = write_load_params(tmp_path, tmp_path / "data.npz")
        arguments = ("--params", params, "--out", tmp_path / "out")
        ours.append(peak_mebibytes("from stages.load import main; main()", *arguments))
        naive.append(peak_mebibytes("import numpy; numpy.load(sys.argv[1])['x_train']", tmp_path / "data.npz"))
    assert np.load(tmp_path / "out" / "train_images.npy", mmap_mode="r").shape == (76800, 28, 28)
    assert ours[1] - ours[0] < 4
    assert naive[1] - naive[0] > 40  # so the measure notices what is held whole
