"""Arrays on disk: what is written, what is refused, and that outputs appear all together or not at all."""

import io
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages import arrays
from stages.arrays import (
    NpyFile,
    describe,
    read_header,
    replacing,
    require_rows,
    require_same_length,
    write_npy,
)
from stages.console import InputError

IMAGES = np.arange(7 * 28 * 28, dtype=np.uint8).reshape(7, 28, 28)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Name and content of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


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
    mapped = file.read()
    mapped[0] = 0
    assert not mapped[0].any()
    assert np.array_equal(file.rows(0, 7), IMAGES)


# What is refused


def saved(array: NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_head(head: str, values: bytes = b"") -> bytes:
    """A .npy file with any text as its head."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode("latin1") + values


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


# All outputs or none


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two earlier outputs; the third does not exist yet."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"earlier {name}")
    return folder


NAMES = ("a.txt", "c.txt", "b.txt")  # the new one between the two, so that renames before and after it fail


def write_all(folder: Path, replace: Callable[..., object] = replacing) -> None:
    with replace(*(folder / name for name in NAMES)) as files:  # type: ignore[attr-defined]
        for file in files:
            file.write_text("new")


def test_outputs_appear_together(folder: Path) -> None:
    with replacing(*(folder / name for name in NAMES)) as files:
        for file in files:
            file.write_text("new")
            assert file.suffix == ".txt"  # Keras chooses the format by it
        assert (folder / "a.txt").read_text() == "earlier a.txt"
        assert not (folder / "c.txt").exists()
    assert snapshot(folder) == dict.fromkeys(NAMES, b"new")


@pytest.mark.parametrize(
    "error", [InputError("a", expected="b", received="c", hint="d"), OSError(28, "full"), SystemExit(1)]
)
def test_an_error_while_writing_changes_nothing(folder: Path, error: BaseException) -> None:
    def write_half() -> None:
        with replacing(*(folder / name for name in NAMES)) as files:
            files[0].write_text("half")
            raise error

    before = snapshot(folder)
    with pytest.raises(type(error), match=re.escape(str(error))):
        write_half()
    assert snapshot(folder) == before


def break_rename(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the rename of this number fail, once."""
    original, calls = Path.replace, iter(range(1, 100))

    def replace(self: Path, target: Path) -> Path:
        if next(calls) == number:
            raise error
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)


# Five renames: two earlier files step aside, three new ones take their places.
@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "a.txt"), KeyboardInterrupt()])
def test_an_error_while_renaming_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException
) -> None:
    before = snapshot(folder)
    break_rename(monkeypatch, number, error)
    with pytest.raises(type(error), match=r"^$|Input/output error"):
        write_all(folder)
    assert snapshot(folder) == before


def test_there_are_no_more_renames_than_were_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_rename(monkeypatch, 6, OSError(5, "Input/output error"))
    write_all(folder)
    assert snapshot(folder) == dict.fromkeys(NAMES, b"new")


@contextmanager
def naive_replacing(*paths: Path) -> Iterator[list[Path]]:
    """Renaming one after the other, with nothing put back: what `replacing` must be better than."""
    temporary = [path.with_name(f".{path.name}") for path in paths]
    yield temporary
    for written, path in zip(temporary, paths, strict=True):
        written.replace(path)


def test_a_naive_rename_would_be_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(folder)
    break_rename(monkeypatch, 2, OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        write_all(folder, naive_replacing)
    assert snapshot(folder) != before


def test_two_writers_at_once_do_not_meet(folder: Path) -> None:
    path = folder / "a.txt"
    with replacing(path) as (first,):
        first.write_text("first")
        with replacing(path) as (second,):
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert set(snapshot(folder)) == {"a.txt", "b.txt"}


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "a.txt"
    with replacing(path) as (file,):
        file.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("a.txt/c.txt", r"a\.txt: expected a folder\. Got something else\. Move it away"),
        ("a.txt/deep/c.txt", r"deep: expected a folder\. Got something else\."),
        ("nowhere/c.txt", r"nowhere: expected a folder\. Got something else\."),
        ("folder.txt", r"folder\.txt: expected a file, or nothing yet\. Got a folder\."),
    ],
)
def test_what_stands_in_the_way_is_named_before_the_work_begins(folder: Path, path: str, match: str) -> None:
    (folder / "folder.txt").mkdir()
    (folder / "nowhere").symlink_to(folder / "missing")
    before = snapshot(folder)
    with pytest.raises(InputError, match=match), replacing(folder / "b.txt", folder / path):
        pytest.fail("the block was entered")
    assert snapshot(folder) == before


def test_a_link_is_replaced_and_what_it_points_to_kept(folder: Path) -> None:
    (folder / "c.txt").symlink_to(folder / "a.txt")
    write_to_link = folder / "c.txt"
    with replacing(write_to_link) as (file,):
        file.write_text("new")
    assert not write_to_link.is_symlink()
    assert (folder / "a.txt").read_text() == "earlier a.txt"


def test_a_link_is_put_back_after_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "c.txt").symlink_to("missing")
    break_rename(monkeypatch, 6, OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        write_all(folder)
    assert (folder / "c.txt").readlink() == Path("missing")


@pytest.mark.parametrize("name", [None, "temporary"])
def test_an_error_of_the_disk_names_the_folder_not_the_temporary_file(folder: Path, name: str | None) -> None:
    with pytest.raises(OSError, match="No space left") as caught, replacing(folder / "a.txt") as (file,):
        raise OSError(28, "No space left on device", *([str(file)] if name else []))
    assert caught.value.filename == str(folder)


def test_an_error_of_another_file_keeps_its_name(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), replacing(folder / "a.txt"):
        (folder / "elsewhere").read_text()
