"""Arrays on disk: writing, reading and refusals."""

from pathlib import Path

import numpy as np
import pytest

from digits.data import npy
from digits.data.npy import NpyFile, require_rows, require_same_length, write_npy
from dvcproof.runtime.program import InputError
from tests.support.arrays import saved, with_head

IMAGES = np.arange(7 * 28 * 28, dtype=np.uint8).reshape(7, 28, 28)
GOOD = saved(IMAGES)


@pytest.fixture
def file(tmp_path: Path) -> NpyFile:
    """Return the file of the images."""
    (tmp_path / "images.npy").write_bytes(GOOD)
    return opened(tmp_path / "images.npy")


def opened(path: Path) -> NpyFile:
    return NpyFile(path, dtype="uint8", shape=(None, 28, 28))


# Writing and reading


@pytest.mark.parametrize("block", [1, 3, 7])
def test_blocks_make_the_file_that_numpy_makes(tmp_path: Path, block: int) -> None:
    parts = (IMAGES[start : start + block] for start in range(0, 7, block))
    write_npy(tmp_path / "a.npy", dtype="uint8", shape=IMAGES.shape, blocks=parts)
    assert (tmp_path / "a.npy").read_bytes() == GOOD


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_are_taken_by_their_numbers(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", IMAGES.astype(dtype))
    file = NpyFile(tmp_path / "a.npy", dtype=dtype, shape=(None, 28, 28))
    for numbers in ([6, 0, 0, 3], [2], []):
        taken = file.take(np.array(numbers, np.int32))
        assert taken.dtype == dtype
        assert np.array_equal(taken, IMAGES[numbers] if numbers else IMAGES[:0])
    with (tmp_path / "a.npy").open("r+b") as content:
        content.truncate((tmp_path / "a.npy").stat().st_size - 1)
    assert np.array_equal(file.take(np.array([5])), IMAGES[5:6])
    with pytest.raises(InputError, match=r"a\.npy: expected .* Got a file that ends 1 bytes early"):
        file.take(np.array([0, 6]))


@pytest.mark.parametrize("block_bytes", [1, 784 * 3, 2**20])
def test_rows_and_blocks_are_copies_from_the_file(
    file: NpyFile, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(npy, "BLOCK_BYTES", block_bytes)
    assert len(file) == 7
    file.rows(0, 7)[:] = file.read()[:] = 0
    assert np.array_equal(file.rows(2, 5), IMAGES[2:5])
    assert np.array_equal(file.read(), IMAGES)
    blocks = list(file.blocks(1, 6))
    assert np.array_equal(np.concatenate(blocks), IMAGES[1:6])
    assert max(len(block) for block in blocks) == min(5, max(1, block_bytes // 784))


def test_what_is_read_whole_is_aligned_for_tensorflow(file: NpyFile) -> None:
    assert file.read().ctypes.data % npy.ALIGNMENT == 0
    assert npy.ALIGNMENT == 64


def test_a_file_that_is_cut_after_the_check_is_refused(file: NpyFile) -> None:
    file.path.write_bytes(GOOD[:-800])
    line = r"images\.npy: expected uint8 \[7, 28, 28\]\. Got a file that ends {} bytes early\. Run `dvc repro`"
    with pytest.raises(InputError, match=line.format(800)):
        file.read()
    with pytest.raises(InputError, match=line.format(16)):
        file.rows(4, 6)
    assert np.array_equal(file.rows(4, 5), IMAGES[4:5])


# Refusals


def with_shape(shape: str) -> bytes:
    return with_head(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n", bytes(2 * 784))


FOREIGN = "a damaged or foreign file"
BAD_FILES = {
    "missing": (None, "Got no such file"),
    "cut in the header": (GOOD[:60], FOREIGN),
    "cut in the values": (GOOD[:-1], rf"Got {len(GOOD) - 1} bytes instead of {len(GOOD)}\."),
    "a byte too many": (GOOD + b"\0", rf"Got {len(GOOD) + 1} bytes instead of {len(GOOD)}\."),
    "another type": (saved(IMAGES.astype(">f4")), r"Got >f4 \[7, 28, 28\]"),
    "another side": (saved(IMAGES[:, :27]), r"Got uint8 \[7, 27, 28\]"),
    "Fortran order": (saved(np.asfortranarray(IMAGES)), r"Got uint8 \[7, 28, 28\] in Fortran order"),
    "pickled objects": (saved(np.array([[[print]]], dtype=object)), r"Got object \[1, 1, 1\]"),
    "length beyond any integer": (with_shape(f"({10**30}, 28, 28)"), f"bytes instead of 784{'0' * 27}"),
    "header of mixed keys": (with_head("{'descr': '|u1', 5: 5}\n"), "header that cannot be parsed"),
    "header that never closes": (with_head("(" * 5000), FOREIGN),
}  # fmt: skip


@pytest.mark.parametrize(("content", "match"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_before_any_value_is_read(tmp_path: Path, content: bytes | None, match: str) -> None:
    if content is not None:
        (tmp_path / "images.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"images\.npy: expected uint8 \[n, 28, 28\]\. .*{match}.* Run `dvc repro`"):
        opened(tmp_path / "images.npy")


def test_sets_that_cannot_be_used_are_refused() -> None:
    require_same_length("a and b", 3, 3)
    require_rows("a", 1)
    for images, labels in ((3, 2), (2, 3)):
        match = rf"a and b: expected as many labels as images\. Got {images} images and {labels} labels\."
        with pytest.raises(InputError, match=match):
            require_same_length("a and b", images, labels)
    with pytest.raises(InputError, match=r"a: expected at least one row\. Got none\."):
        require_rows("a", 0)
