"""The stage `load`: four arrays, unchanged, from every form of data set, or a refusal that changes nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import load
from stages.console import InputError
from stages.sources import NAMES, NPZ_NAMES
from tests.conftest import ROOT, Arrays, environment
from tests.conftest import run as run_program
from tests.test_arrays import snapshot
from tests.test_console import refusal, refused_by

KEYS = dict(zip(NAMES, NPZ_NAMES, strict=True))


Names = list[str] | None


def write_params(folder: Path, source: str | Path, class_names: Names = None) -> Path:
    """A params.yaml with the section `load`. JSON is YAML."""
    path = folder / "params.yaml"
    path.write_text(json.dumps({"class_names": class_names, "load": {"source": str(source)}}))
    return path


def run_load(folder: Path, source: str | Path, *, class_names: Names = None) -> dict[str, bytes]:
    """Load a data set, and give back the files that are written."""
    load.load(load.LoadParams(class_names=class_names, source=str(source)), folder / "out")
    return snapshot(folder / "out")


def refused(folder: Path, source: str | Path, *, class_names: Names = None) -> str:
    """Refuse a data set, and leave earlier outputs as they are and nothing else behind. Gives back the line."""
    out = folder / "out"
    out.mkdir()
    earlier = {f"{name}.npy": f"earlier {name}".encode() for name in NAMES}
    for name, content in earlier.items():
        (out / name).write_bytes(content)
    line = refusal(load.main, "--params", write_params(folder, source, class_names), "--out", out)
    assert snapshot(out) == earlier
    return line


def test_the_arrays_are_those_of_the_source(tmp_path: Path, small_npz: Path, digits: Arrays) -> None:
    written = run_load(tmp_path, small_npz)
    assert set(written) == {f"{name}.npy" for name in NAMES}
    for name, key in KEYS.items():
        array = np.load(tmp_path / "out" / f"{name}.npy")
        assert array.dtype == np.uint8
        assert np.array_equal(array, digits[key])


@pytest.mark.parametrize("block_bytes", [7, 999, 784 * 600])
def test_the_size_of_the_blocks_changes_nothing(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    whole = run_load(tmp_path / "whole", small_npz)
    monkeypatch.setattr("stages.sources.BLOCK_BYTES", block_bytes)
    assert run_load(tmp_path / "blocks", small_npz) == whole


Change = Callable[[Arrays], object]
TWENTY_EIGHT = r"expected uint8 \[n, 28, 28\]\. Got "
BAD_ARRAYS: dict[str, tuple[Change, str]] = {
    "float images": (
        lambda a: a.update(x_train=a["x_train"].astype(float)),
        rf"x_train in .*{TWENTY_EIGHT}float64 \[600, 28",
    ),
    "signed labels": (lambda a: a.update(y_test=a["y_test"].astype(np.int8)), r"y_test in .*uint8 \[n\]\. Got int8"),
    "wide labels": (lambda a: a.update(y_train=a["y_train"].astype(np.int64)), r"y_train in .*Got int64 \[600\]"),
    "27 rows": (lambda a: a.update(x_test=a["x_test"][:, :27]), rf"x_test in .*{TWENTY_EIGHT}uint8 \[200, 27, 28\]"),
    "flat images": (lambda a: a.update(x_train=a["x_train"].reshape(-1, 784)), rf"{TWENTY_EIGHT}uint8 \[600, 784\]"),
    "colour": (lambda a: a.update(x_test=a["x_test"][..., None]), rf"{TWENTY_EIGHT}uint8 \[200, 28, 28, 1\]"),
    "labels of two dimensions": (
        lambda a: a.update(y_test=a["y_test"][:, None]),
        r"uint8 \[n\]\. Got uint8 \[200, 1\]",
    ),
    "a single label": (lambda a: a.update(y_test=np.array(3, np.uint8)), r"y_test in .*uint8 \[n\]\. Got uint8 \[\]"),
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
        r"y_test in .*: expected labels from 0 to 9, the classes of the training set\. Got 10 at position 150\. ",
    ),
    "a label of 255 in the training set": (
        lambda a: a.update(y_train=np.where(np.arange(600) == 599, 255, a["y_train"]).astype(np.uint8)),
        r"y_train in .*: expected images of every class from 0 to 255\. Got none of class 10, and label 255 at pos",
    ),
    "no 3 in the training set": (
        lambda a: a.update(y_train=np.where(a["y_train"] == 3, 4, a["y_train"]).astype(np.uint8)),
        r"y_train in .*: expected images of every class from 0 to 9\. Got none of class 3, and label 9 at position",
    ),
    "one class": (
        lambda a: a.update(y_train=a["y_train"] * 0, y_test=a["y_test"] * 0),
        r"y_train in .*: expected images of every class from 0 to 1\. Got none of class 1\. Give each class images",
    ),
}


@pytest.mark.parametrize(("change", "match"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_of_another_form_are_refused(tmp_path: Path, digits: Arrays, change: Change, match: str) -> None:
    changed = dict(digits)
    change(changed)
    np.savez(tmp_path / "bad.npz", **changed)  # type: ignore[arg-type]
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))


def test_the_position_of_a_wrong_label_counts_from_the_start_of_the_set(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sources.BLOCK_BYTES", 64)
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
    source = with_classes(tmp_path / "data.npz", digits, classes)
    written = run_load(tmp_path / "numbers", source)
    assert np.load(tmp_path / "numbers" / "out" / "test_labels.npy")[-1] == classes - 1
    names = [f"class {label}" for label in range(classes)]
    assert run_load(tmp_path / "names", source, class_names=names) == written  # so a new name changes no output
    line = refused(tmp_path, source, class_names=["one more", *names[:255]] if classes < 256 else names[1:])
    expected = f"expected {classes} names, one for each of the labels 0 to {classes - 1}"
    assert f"parameter 'class_names': {expected}. Got {classes + 1 if classes < 256 else 255} names. Name every" in line


def test_names_are_checked_before_anything_is_written(
    tmp_path: Path, small_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(path: Path, **_: object) -> None:
        written.append(path)
        path.touch()

    monkeypatch.setattr(load, "write_npy", write)
    params = load.LoadParams(class_names=["a", "b"], source=str(small_npz))
    with pytest.raises(InputError, match="expected 10 names"):
        load.load(params, tmp_path / "out")
    assert not written
    assert not (tmp_path / "out").exists()
    load.load(params.model_copy(update={"class_names": None}), tmp_path / "out")
    assert len(written) == 4  # so the list would have shown it


# Outputs that cannot be written


def run_main(folder: Path, source: Path, out: str | Path) -> str:
    return refusal(load.main, "--params", write_params(folder, source), "--out", out)


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
from stages.console import run
from stages.load import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
run(main)
"""


def test_a_disk_that_fills_up_leaves_the_earlier_outputs(tmp_path: Path, small_npz: Path) -> None:
    earlier = tmp_path / "out" / "train_images.npy"
    earlier.parent.mkdir()
    earlier.write_text("earlier")
    command = (sys.executable, "-c", FULL_DISK, "--params", str(write_params(tmp_path, small_npz)))
    result = run_program(*command, "--out", "out", cwd=tmp_path, env=AT_ROOT)
    assert "ERROR: out: expected to read or write it. Got File too large." in refused_by(result)
    assert snapshot(earlier.parent) == {"train_images.npy": b"earlier"}


def test_nothing_is_made_for_a_source_that_is_refused_by_its_head(tmp_path: Path) -> None:
    assert "no such file or folder" in run_main(tmp_path, tmp_path / "missing.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The real command line

#: Programs run elsewhere than in the repository, so that none can touch it; they find `stages` all the same.
AT_ROOT = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program(sys.executable, "-m", "stages.load", *arguments, cwd=folder, env=AT_ROOT)


def test_the_command_line_writes_the_arrays(tmp_path: Path, small_npz: Path, digits: Arrays) -> None:
    write_params(tmp_path, small_npz.name)
    result = command_line(tmp_path, "--params", "params.yaml", "--out", "raw")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert np.array_equal(np.load(tmp_path / "raw" / "train_images.npy"), digits["x_train"])


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (
            "missing.npz",
            r"^ERROR: data set 'missing\.npz': expected .* Got no such file or folder\. Set `load\.source`",
        ),
        ("http://localhost/a.npz#sha256=" + "0" * 64, "Got an address without https or without a SHA-256. Use https"),
        ("params.yaml", r"^ERROR: params\.yaml: expected a \.npz archive\. Got a damaged or foreign file"),
        (".", r"^ERROR: \.: expected the file train-images-idx3-ubyte or .*\.gz\. Got params\.yaml, small\.npz\."),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path: Path, small_npz: Path, source: str, match: str) -> None:
    assert small_npz.is_file()
    write_params(tmp_path, source)
    assert re.search(match, refused_by(command_line(tmp_path, "--params", "params.yaml", "--out", "raw")))
    assert not (tmp_path / "raw").exists()


def test_the_command_line_wants_its_paths(tmp_path: Path) -> None:
    result = command_line(tmp_path)
    assert result.returncode == 2
    assert "the following arguments are required: --params, --out" in result.stderr


# Memory

PEAK = """
import re, sys
{work}
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""

linux_only = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")


def peak_mebibytes(work: str, *arguments: str | Path) -> float:
    """The most memory that a Python program held at once."""
    result = subprocess.run(
        [sys.executable, "-c", PEAK.format(work=work), *map(str, arguments)],
        cwd=ROOT,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout) / 1024


def tiled(digits: Arrays, times: int) -> Arrays:
    """The training set of the sample, repeated."""
    return digits | {
        "x_train": np.tile(digits["x_train"], (times, 1, 1)),
        "y_train": np.tile(digits["y_train"], times),
    }


#: 9,600 and 76,800 images: 7 and 57 MiB, against blocks of a quarter.
TIMES = (16, 128)


@linux_only
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path, digits: Arrays) -> None:
    ours, naive = [], []
    for times in TIMES:
        np.savez(tmp_path / "data.npz", **tiled(digits, times))  # type: ignore[arg-type]
        params = write_params(tmp_path, tmp_path / "data.npz")
        arguments = ("--params", params, "--out", tmp_path / "out")
        ours.append(peak_mebibytes("from stages.load import main; main()", *arguments))
        naive.append(peak_mebibytes("import numpy; numpy.load(sys.argv[1])['x_train']", tmp_path / "data.npz"))
    assert np.load(tmp_path / "out" / "train_images.npy", mmap_mode="r").shape == (76800, 28, 28)
    assert ours[1] - ours[0] < 4
    assert naive[1] - naive[0] > 40  # so the measure notices what is held whole
