"""The stage `load`: four unchanged arrays and their description, or a refusal that changes nothing."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.data.dataset import read_dataset
from stages import load
from tests.support.arrays import snapshot, tiled, write_load_params
from tests.support.loading import refused, run_load
from tests.support.memory import TIMES, linux_only, peak_mebibytes
from tests.support.project import AT_ROOT, Arrays, run


def write(path: Path, digits: Arrays, **changed: Any) -> Path:
    """Write the sample with other arrays as a .npz."""
    np.savez(path, **(digits | changed))
    return path


SIZES = r"expected images \[n, height, width\], .*\. Got "
BAD_ARRAYS: dict[str, tuple[str, Any, str]] = {
    "27 rows": ("x_test", lambda x: x[:, :27], r"x_test in .*: expected images of 28 x 28 pixels, .*\. Got 27 x 28"),
    "two channels": ("x_test", lambda x: np.stack([x] * 2, axis=3), rf"x_test in .*{SIZES}uint8 \[200, 28, 28, 2\]"),
    "complex": ("x_test", lambda x: x.astype(complex), r"expected pixels as numbers\. Got complex128"),
    "a single label": ("y_test", lambda _: np.array(3, np.uint8), r"y_test in .*\[n, classes\]\. Got uint8 \[\]"),
    "two ones": ("y_test", lambda y: np.eye(10)[y] + np.eye(10)[0], r"a single 1 in each row .*\. Got 1 0 0 .* row 0"),
    "fewer labels": ("y_train", lambda y: y[1:], r"x_train in .* and y_train in .*\. Got 600 images and 599 labels\."),
    "no images": ("x_test", lambda x: x[:0], r"x_test in .*: expected 1 to \d+ images\. Got 0\."),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_of_another_form_are_refused(tmp_path: Path, digits: Arrays, case: str) -> None:
    key, change, match = BAD_ARRAYS[case]
    assert re.search(match, refused(tmp_path, write(tmp_path / "bad.npz", digits, **{key: change(digits[key])})))


@pytest.mark.parametrize("shape", [(8, 8), (28, 16), (32, 24, 3)])
def test_images_of_any_size_and_colour_are_stored(tmp_path: Path, digits: Arrays, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    images = {key: random.integers(0, 256, (len(digits[key]), *shape), np.uint8) for key in ("x_train", "x_test")}
    run_load(tmp_path, write(tmp_path / "a.npz", digits, **images))
    assert read_dataset(tmp_path / "out" / "dataset.json").image_shape == shape
    assert np.array_equal(np.load(tmp_path / "out" / "test_images.npy"), images["x_test"])


# The parameters


# The real command line


def command_line(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "stages.load", *arguments, cwd=folder, env=AT_ROOT)


def test_the_command_line_writes_and_describes_the_arrays(tmp_path: Path, small_npz: Path) -> None:
    write_load_params(tmp_path, small_npz.name)
    result = command_line(tmp_path, "--params", "params.yaml", "--out", "raw")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "train_images  uint8 [600, 28, 28]\n"
        "train_labels  uint8 [600]: 5 0 4 ... 6 6 7\n"
        "test_images   uint8 [200, 28, 28]\n"
        "test_labels   uint8 [200]: 7 2 1 ... 6 4 2\n"
    )
    assert snapshot(tmp_path / "raw") == run_load(tmp_path, small_npz)


@pytest.mark.slow
@linux_only
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path, digits: Arrays) -> None:
    ours, naive = [], []
    for times in TIMES:
        params = write_load_params(tmp_path, write(tmp_path / "data.npz", tiled(digits, times)))
        arguments = ("--params", params, "--out", tmp_path / "out")
        ours.append(peak_mebibytes("from stages.load import main; main()", *arguments))
        naive.append(peak_mebibytes("import numpy; numpy.load(sys.argv[1])['x_train']", tmp_path / "data.npz"))
    assert np.load(tmp_path / "out" / "train_images.npy", mmap_mode="r").shape == (76800, 28, 28)
    assert ours[1] - ours[0] < 4
    assert naive[1] - naive[0] > 40  # so the measurement notices an array that is held in memory as a whole


def test_the_parameter_transpose_turns_images(
    tmp_path: Path, digits: Arrays, small_npz: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = run_load(tmp_path / "right", small_npz)["train_images.npy"]
    source = write(tmp_path / "a.npz", digits, **{key: digits[key].swapaxes(1, 2) for key in ("x_train", "x_test")})
    ends = {"auto": "which ends this warning\n", True: "images: height and width exchanged\n", False: " 6 4 2\n"}
    for value, end in ends.items():
        params = write_load_params(tmp_path, source, transpose=value)
        monkeypatch.setattr(sys, "argv", ["load", "--params", str(params), "--out", str(tmp_path / "out")])
        load.main()
        assert capsys.readouterr().out.endswith(end)
        assert ((tmp_path / "out" / "train_images.npy").read_bytes() == right) is (value is True)
