"""Data sets as folders of IDX files, plain or gzipped: what is damaged, foreign or incomplete is refused."""

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from digits.sources.arrays import IDX_NAMES
from tests.support.arrays import flip, write_idx
from tests.support.loading import OUTPUTS, refused, run_load
from tests.support.project import Arrays


def test_a_plain_file_goes_before_a_packed_one(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    (folder / f"{IDX_NAMES[0]}.gz").write_bytes(b"not read")
    assert set(run_load(tmp_path, folder)) == OUTPUTS


def idx_changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def idx_packed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def replace(folder: Path) -> None:
        (folder / f"{name}.gz").write_bytes(change(gzip.compress((folder / name).read_bytes())))
        (folder / name).unlink()

    return replace


IMAGES, LABELS = IDX_NAMES[0], IDX_NAMES[3]
BAD_IDX: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty folder": (
        lambda folder: [path.rename(folder.parent / path.name) for path in folder.iterdir()],
        r"idx: expected a data set: \.npz, .* Got an empty folder or archive\.",
    ),
    "no test labels": (
        lambda folder: (folder / LABELS).unlink(),
        r"idx: expected the labels of the test set\. Got t10k-images-idx3-ubyte, train-images",
    ),
    "an empty file": (
        idx_changed(IMAGES, lambda _: b""),
        rf"{IMAGES}: expected the images of the training set\. Got an empty file\.",
    ),
    "a file cut in the head": (idx_changed(LABELS, lambda content: content[:6]), "Got a file of 6 bytes"),
    "a file cut in the values": (
        idx_changed(IMAGES, lambda content: content[:-3]),
        rf"{IMAGES}: expected uint8 \[600, 28, 28\]\. Got a file that ends 3 bytes early",
    ),
    "a file without values": (idx_changed(LABELS, lambda content: content[:8]), "ends 200 bytes early"),
    "trailing bytes": (
        idx_changed(LABELS, lambda content: content + b"\0"),
        rf"{LABELS}: expected uint8 \[200\]\. Got a file with more bytes than its header says",
    ),
    "labels for images": (
        lambda folder: (folder / IMAGES).write_bytes((folder / LABELS).read_bytes() + bytes(16)),
        rf"{IMAGES}: expected images \[n, height, width\], .*\. Got uint8 \[200\]\.",
    ),
    "values of 4 bytes": (
        idx_changed(IMAGES, lambda content: b"\0\0\x0d\3" + content[4:]),
        rf"{IMAGES}: expected >f4 \[600, 28, 28\]\. Got a file that ends 1411200 bytes early\.",
    ),
    "little-endian": (
        idx_changed(LABELS, lambda content: content[3::-1] + content[4:]),
        rf"{LABELS}: expected the labels of the test set\. Got a file of another kind\.",
    ),
    "27 columns": (
        idx_changed(IMAGES, lambda content: content[:12] + struct.pack(">I", 27) + content[16:]),
        r"expected uint8 \[600, 28, 27\]\. Got a file with more bytes than its header says\.",
    ),
    "lengths that disagree": (
        idx_changed(LABELS, lambda content: content[:4] + struct.pack(">I", 199) + content[8:-1]),
        "expected as many labels as images. Got 200 images and 199 labels",
    ),
    "no images": (
        lambda folder: [
            idx_changed(IDX_NAMES[2], lambda content: content[:4] + bytes(4) + content[8:16])(folder),
            idx_changed(LABELS, lambda content: content[:4] + bytes(4))(folder),
        ],
        r"expected at least one image\. Got uint8 \[0, 28, 28\]\.",
    ),
    "a length of minus one": (
        lambda folder: [
            idx_changed(IDX_NAMES[2], lambda content: content[:4] + b"\xff" * 4 + content[8:])(folder),
            idx_changed(LABELS, lambda content: content[:4] + b"\xff" * 4 + content[8:])(folder),
        ],
        r"expected uint8 \[4294967295, 28, 28\]\. Got a file that ends \d+ bytes early",
    ),
    "a label of 10": (
        idx_changed(LABELS, lambda content: content[:-1] + b"\x0a"),
        rf"{LABELS}: expected the classes of the training set: 0, 1, .*, 9\. Got 10 at position 199\.",
    ),
    "a cut .gz": (
        idx_packed(IMAGES, lambda content: content[:-20]),
        rf"{IMAGES}\.gz: expected uint8 \[600, 28, 28\]\. Got a damaged file \(Compressed file ended",
    ),
    "a .gz cut in its head": (
        idx_packed(IMAGES, lambda content: content[:5]),
        rf"{IMAGES}\.gz: expected the images of the training set\. Got a damaged file",
    ),
    "a .gz with a flipped bit": (
        idx_packed(IMAGES, lambda content: flip(content, len(content) // 2)),
        rf"{IMAGES}\.gz: expected uint8 .*\. Got a damaged file",
    ),
    "a .gz with a wrong sum": (idx_packed(LABELS, lambda content: flip(content, len(content) - 8)), "CRC check failed"),
    "a .gz with something behind": (
        idx_packed(LABELS, lambda content: content + b"hello"),
        rf"{LABELS}\.gz: expected the labels of the test set\. Got a damaged file \(Not a gzipped file",
    ),
    "a .gz with a second one behind": (
        idx_packed(LABELS, lambda content: content + gzip.compress(b"\0")),
        "more bytes than its header says",
    ),
    "text for a .gz": (
        idx_packed(LABELS, lambda _: b"hello, world"),
        rf"{LABELS}\.gz: expected the labels of the test set\. Got a file of another kind\.",
    ),
}


@pytest.mark.parametrize(("change", "match"), BAD_IDX.values(), ids=BAD_IDX)
def test_bad_idx_files_are_refused(
    tmp_path: Path, digits: Arrays, change: Callable[[Path], object], match: str
) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    change(folder)
    assert re.search(match, refused(tmp_path, folder))


def test_a_folder_in_place_of_an_idx_file_is_refused(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()
    assert "idx: expected the images of the training set. Got t10k-images-idx3-ubyte" in refused(tmp_path, folder)


def test_a_packed_file_with_a_great_header_is_refused(tmp_path: Path, digits: Arrays) -> None:
    folder, many = write_idx(tmp_path / "idx", digits, packed=IDX_NAMES), 10**7
    heads = (struct.pack(">4I", 0x803, many, 28, 28), struct.pack(">2I", 0x801, many))
    for name, head in zip(IDX_NAMES[:2], heads, strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(head + bytes(5000)))
    line = refused(tmp_path, folder)
    assert re.search(r"images-idx3-ubyte\.gz: expected at most 268435456 bytes in a file of \d+\. Got a header", line)
