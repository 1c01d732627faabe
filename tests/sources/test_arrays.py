"""Arrays in .npz archives and IDX files: damaged, foreign and hostile ones are refused."""

import gzip
import io
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digits.sources import arrays, tree
from digits.sources.arrays import IDX_NAMES
from tests.support.arrays import flip, idx_bytes, saved, with_head, write_idx
from tests.support.loading import refused, run_load
from tests.support.project import Arrays


def stored(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a .npz with these files in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def members(digits: Arrays) -> dict[str, bytes]:
    return {f"{key}.npy": saved(array) for key, array in digits.items()}


def whole(digits: Arrays, compression: int = zipfile.ZIP_STORED) -> bytes:
    return stored(members(digits), compression)


def claims(shape: str) -> bytes:
    """Return a .npy of uint8 whose header claims a shape, with 784 bytes of values."""
    shape = re.sub(r"(\d+)\*\*(\d+)", lambda power: str(int(power[1]) ** int(power[2])), shape)
    return with_head(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n", bytes(784))


Build = Callable[[Arrays], bytes]


def changed(**files: bytes | Callable[[bytes], bytes]) -> Build:
    """Return a function that makes the archive with other files under these names."""

    def build(digits: Arrays) -> bytes:
        every = members(digits)
        for key, content in files.items():
            every[f"{key}.npy"] = content if isinstance(content, bytes) else content(every[f"{key}.npy"])
        return stored(every)

    return build


EARLY = r"the file is {} bytes shorter than its header says, which is {}\. Fetch"
LONGER = "the file is longer than its header says, which is "
BAD_NPZ: dict[str, tuple[Build, str]] = {
    "an empty file": (lambda _: b"", r"bad\.npz: this is an empty file, not a data set of images and labels\."),
    "a flipped bit, packed": (lambda d: flip(whole(d, zipfile.ZIP_DEFLATED), 5000), "x_train in .* is damaged"),
    "no test labels": (
        lambda d: stored({name: each for name, each in members(d).items() if "y_test" not in name}),
        r"bad\.npz: the labels of the test set are missing\. There is only x_test, x_train, y_train\. Put images and",
    ),
    "other names": (
        lambda d: stored({f"{number:02}.npy": saved(d["y_test"]) for number in range(20)}),
        r"names do not tell what these arrays are: 00, 01, 02, 03, 04, 05, 06, 07 and 12 more\. Put",
    ),
    "names that steer the terminal": (lambda _: stored({"\x1b[31m\n.npy": b""}), r"ERROR: \\x1b\[31m ?in .*an empty"),
    "cut in the values": (changed(x_test=lambda each: each[:-10]), EARLY.format(10, r"uint8 \[200, 28, 28\]")),
    "one byte more": (changed(y_test=lambda each: each + b"\0"), r"y_test in .*" + LONGER + r"uint8 \[200\]"),
    "beyond any integer": (changed(x_test=claims("(10**30, 28, 28)"), y_test=claims("(10**30,)")), r" \d{30,} bytes s"),
    "code for a header": (changed(x_test=with_head("__import__('os').abort()\n")), "is damaged, or not an array"),
    "compressed with LZMA": (lambda d: whole(d, zipfile.ZIP_LZMA), "x_test.npy in .*: it is compressed in"),
    "encrypted": (lambda d: re.sub(rb"(PK\x01\x02....)\0", b"\\1\1", whole(d), flags=re.DOTALL), r"\(File .*encrypted"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "match"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_a_bad_npz_is_refused(tmp_path: Path, digits: Arrays, build: Build, match: str) -> None:
    (tmp_path / "bad.npz").write_bytes(build(digits))
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))


class Payload:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("in_array", [True, False])
def test_a_pickle_is_never_opened(tmp_path: Path, digits: Arrays, in_array: bool) -> None:
    mark, bad = tmp_path / "executed", tmp_path / "bad.npz"
    array = saved(np.array([Payload(mark)], dtype=object))
    bad.write_bytes(changed(x_train=array)(digits) if in_array else pickle.dumps(Payload(mark)))
    line = refused(tmp_path, bad)
    assert ("the array holds pickled Python objects" if in_array else "this is a pickle, which can") in line
    assert not mark.exists()
    np.load(bad, allow_pickle=True)["x_train"] if in_array else pickle.loads(bad.read_bytes())
    assert mark.exists()  # so unpickling does run the payload


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_size_of_the_blocks_changes_nothing(
    tmp_path: Path, small_npz: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    expected = run_load(tmp_path, small_npz)
    np.savez(tmp_path / "a.npz", **{key: array.copy(order=order) for key, array in digits.items()})  # type: ignore
    for size in (7, 999, 784 * 600):
        monkeypatch.setattr(arrays, "BLOCK_BYTES", size)
        assert run_load(tmp_path, tmp_path / "a.npz") == expected


# IDX

IMAGES, LABELS = IDX_NAMES[0], IDX_NAMES[3]
Change = Callable[[bytes], bytes]
BAD_IDX: dict[str, tuple[str, Change, str]] = {
    "cut in the header": (LABELS, lambda c: c[:6], "the IDX file ends within its header, after 6 bytes"),
    "labels for images": (IMAGES, lambda _: idx_bytes(np.ones(9, np.uint8)), r"images \[.*\. Got uint8 \[9\]\."),
    "little-endian": (LABELS, lambda c: c[3::-1] + c[4:], "this is a file of unknown kind, not the labels"),
    "a .gz with a wrong sum": (LABELS, lambda c: flip(gzip.compress(c), -8), "CRC check failed"),
    "a .gz and text": (LABELS, lambda c: gzip.compress(c) + b"hello", r"a damaged file \(Not a gzipped file"),
    "a .gz and another": (LABELS, lambda c: gzip.compress(c) + gzip.compress(b"\0"), LONGER),
    "a .gz that claims much": (
        IMAGES,
        lambda _: gzip.compress(struct.pack(">4I", 0x803, 600, 128, 128) + bytes(5000)),
        "its header claims 9830400 bytes, in a file of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_IDX)
def test_a_bad_idx_file_is_refused(tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    name, change, match = BAD_IDX[case]
    monkeypatch.setattr(tree, "PACKED_BYTES", 2**20)
    path = write_idx(tmp_path / "idx", digits) / name
    path.write_bytes(change(path.read_bytes()))
    assert re.search(match, refused(tmp_path, path.parent))


def test_of_two_copies_one_is_used(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress((folder / IMAGES).read_bytes(), 1))
    assert len(run_load(tmp_path, folder)) == 5
