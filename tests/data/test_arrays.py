"""Arrays on disk: what is written, and what is refused."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from digits.data import arrays
from digits.data.arrays import NpyFile, describe, read_header, require_rows, require_same_length, write_npy
from dvcproof.runtime.program import InputError
from tests.support.arrays import saved, with_head
from tests.support.project import ROOT, run

IMAGES = np.arange(7 * 28 * 28, dtype=np.uint8).reshape(7, 28, 28)


# What is written and read


def test_a_type_and_shape_in_words() -> None:
    assert describe("uint8", (None, 28, 28)) == "uint8 [n, 28, 28]"
    assert describe(np.float32, ()) == "float32 []"


@pytest.mark.parametrize("block", [1, 3, 7])
def test_blocks_make_the_file_that_numpy_makes(tmp_path: Path, block: int) -> None:
    path = tmp_path / "a.npy"
    parts = (IMAGES[start : start + block] for start in range(0, 7, block))
    write_npy(path, dtype="uint8", shape=IMAGES.shape, blocks=parts)
    expected = io.BytesIO()
    np.save(expected, IMAGES)
    assert path.read_bytes() == expected.getvalue()


def test_an_array_of_no_rows_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_npy(path, dtype="float32", shape=(0, 784), blocks=())
    file = NpyFile(path, dtype="float32", shape=(None, 784))
    assert len(file) == 0
    for values in (np.load(path), file.read(), file.rows(0, 0)):
        assert (values.dtype, values.shape) == (np.float32, (0, 784))
    assert list(file.blocks()) == []


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
def test_rows_and_blocks_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    np.save(tmp_path / "a.npy", IMAGES)
    file = NpyFile(tmp_path / "a.npy", dtype="uint8", shape=(None, 28, 28))
    assert len(file) == 7
    assert np.array_equal(file.rows(2, 5), IMAGES[2:5])
    assert np.array_equal(file.read(), IMAGES)
    blocks = list(file.blocks(1, 6))
    assert np.array_equal(np.concatenate(blocks), IMAGES[1:6])
    assert max(len(block) for block in blocks) == min(5, max(1, block_bytes // 784))


def test_rows_can_be_changed_without_changing_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    file = NpyFile(tmp_path / "a.npy", dtype="uint8", shape=(None, 28, 28))
    file.rows(0, 7)[:] = 0
    assert np.array_equal(file.rows(0, 7), IMAGES)
    whole = file.read()
    whole[0] = 0
    assert not whole[0].any()
    assert np.array_equal(file.rows(0, 7), IMAGES)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_what_is_read_whole_begins_where_tensorflow_wants_it(tmp_path: Path, rows: int) -> None:
    np.save(tmp_path / "a.npy", IMAGES[:rows])
    whole = NpyFile(tmp_path / "a.npy", dtype="uint8", shape=(None, 28, 28)).read()
    assert rows == 0 or whole.ctypes.data % arrays.ALIGNMENT == 0  # an empty array has no place
    assert np.array_equal(whole, IMAGES[:rows])


def test_a_file_that_is_cut_after_the_check_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    file = NpyFile(tmp_path / "a.npy", dtype="uint8", shape=(None, 28, 28))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-800])
    line = r"a\.npy: expected uint8 \[7, 28, 28\]\. Got a file that ends {} bytes early\. Run `dvc repro`"
    with pytest.raises(InputError, match=line.format(800)):
        file.read()
    with pytest.raises(InputError, match=line.format(16)):
        file.rows(4, 6)
    assert np.array_equal(file.rows(4, 5), IMAGES[4:5])


CUT = """
import sys
import numpy as np
from pathlib import Path
from digits.data.arrays import NpyFile
file = NpyFile(Path(sys.argv[1]), dtype="uint8", shape=(None,))
values = {read}
open(sys.argv[1], "r+b").truncate(128)
print(values.sum())
"""


@pytest.mark.parametrize(("read", "status"), [("file.read()", 0), ("np.memmap(sys.argv[1], 'u1', 'c', 128)", -7)])
def test_a_file_that_is_cut_while_in_use_ends_nothing(tmp_path: Path, read: str, status: int) -> None:
    np.save(tmp_path / "a.npy", np.ones(10**6, np.uint8))
    result = run(sys.executable, "-c", CUT.format(read=read), str(tmp_path / "a.npy"), cwd=ROOT)
    assert result.returncode == status  # what is mapped ends the process, by a signal and without a word
    assert result.stdout == ("" if status else "1000000\n")
    assert result.stderr == ""


# What is refused


def with_shape(shape: str) -> bytes:
    return with_head(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n", bytes(2 * 784))


GOOD = saved(IMAGES)
BAD_FILES = {
    "empty": (b"", "a damaged or foreign file"),
    "no .npy": (b"hello, world", "a damaged or foreign file"),
    "cut in the magic": (GOOD[:4], "a damaged or foreign file"),
    "cut in the head": (GOOD[:60], "a damaged or foreign file"),
    "cut in the values": (GOOD[:-1], rf"Got {len(GOOD) - 1} bytes instead of {len(GOOD)}\."),
    "values missing": (GOOD[:128], "Got 128 bytes instead of"),
    "a byte too many": (GOOD + b"\0", rf"Got {len(GOOD) + 1} bytes instead of {len(GOOD)}\."),
    "another type": (saved(IMAGES.astype(np.int16)), r"Got int16 \[7, 28, 28\]"),
    "another byte order": (saved(IMAGES.astype(">f4")), r"Got >f4 \[7, 28, 28\]"),
    "two dimensions": (saved(IMAGES.reshape(7, 784)), r"Got uint8 \[7, 784\]"),
    "another side": (saved(IMAGES[:, :27]), r"Got uint8 \[7, 27, 28\]"),
    "a single number": (saved(np.array(np.uint8(1))), r"Got uint8 \[\]"),
    "Fortran order": (saved(np.asfortranarray(IMAGES)), r"Got uint8 \[7, 28, 28\] in Fortran order"),
    "pickled objects": (saved(np.array([[[print]]], dtype=object)), r"Got object \[1, 1, 1\]"),
    "a structure": (saved(np.zeros(3, dtype=[("a", "u1")])), r"Got \[\('a', 'u1'\)\] \[3\]"),
    "a .npz": (b"PK\x03\x04" + bytes(60), "a damaged or foreign file"),
    "format 2.0": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1), r"\.npy format 2\.0 instead of 1\.0"),
    "format 9.9": (b"\x93NUMPY\x09\x09" + bytes(99), r"\.npy format 9\.9 instead of 1\.0"),
    "negative length": (with_shape("(-2, 28, 28)"), "bytes instead of"),
    "endless length": (with_shape(f"({2**62}, 28, 28)"), f"bytes instead of {2**62 * 784 + 93}"),
    "length beyond any integer": (with_shape(f"({10**30}, 28, 28)"), f"bytes instead of 784{'0' * 27}"),
    "length that is no number": (with_shape("(2.0, 28, 28)"), "shape is not valid"),
    "head that is no dictionary": (with_head("[1, 2]\n"), "a damaged or foreign file"),
    "head with code": (with_head("__import__('os').abort()\n"), "a damaged or foreign file"),
    "head that never closes": (with_head("(" * 5000), "a damaged or foreign file"),
    "head of another type": (
        with_head("{'descr': [('a', ())], 'fortran_order': False, 'shape': (1,), }\n"),
        "a damaged or foreign file",
    ),
}


@pytest.mark.parametrize(("content", "match"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_before_any_value_is_read(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "images.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"images\.npy: expected uint8 \[n, 28, 28\]\. .*{match}.* Run `dvc repro`"):
        NpyFile(path, dtype="uint8", shape=(None, 28, 28))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images\.npy: expected uint8 \[n\]\. Got no such file\. Run `dvc repro`"):
        NpyFile(tmp_path / "images.npy", dtype="uint8", shape=(None,))


def test_no_byte_of_the_head_can_do_more_than_be_refused(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pieces = ["'", "(", ")", "{", "}", "-", "9" * 20, "True", "None", "O", "<f4", ",", ":", "\\", "\x00", "\n", "'V0'"]
    path, refused = tmp_path / "a.npy", 0
    for _ in range(500):
        content = bytearray(GOOD)
        for piece in generator.choice(pieces, 3):
            start = int(generator.integers(128))
            content[start : start + len(piece)] = piece.encode("latin1")
        path.write_bytes(content)
        try:
            assert np.array_equal(NpyFile(path, dtype="uint8", shape=(None, 28, 28)).read(), IMAGES)
        except InputError:
            refused += 1
    assert 400 < refused < 500  # some of the changes fall on the blanks at the end of the head


def test_the_head_that_numpy_writes_is_read() -> None:
    file = io.BytesIO(GOOD)
    assert read_header(file) == ((7, 28, 28), False, np.dtype(np.uint8))
    assert file.tell() == 128


def test_sets_that_cannot_be_used_are_refused() -> None:
    require_same_length("a and b", 3, 3)
    require_rows("a", 1)
    with pytest.raises(InputError, match=r"a and b: expected as many labels as images\. Got 3 images and 2 labels\."):
        require_same_length("a and b", 3, 2)
    with pytest.raises(InputError, match=r"a: expected at least one row\. Got none\."):
        require_rows("a", 0)
