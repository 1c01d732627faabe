"""Tables: which column is which, and what is no table of images."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digits.sources import stream, tables
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.forms import LABELLED, PIXELS, few, table
from tests.support.project import Arrays

Change = Callable[[bytes], bytes]


def numbered(content: bytes) -> bytes:
    """The table with a column that numbers the rows, as pandas writes it."""
    first, *rows = content.splitlines()
    return b"".join([b"," + first + b"\n", *(b"%d,%b\n" % pair for pair in enumerate(rows))])


def loaded(path: Path, content: bytes, out: Path) -> list[str]:
    """Load one table, and keep 20 images of it for test."""
    path.write_bytes(content)
    return load(str(path), out, test_size=20)


@pytest.mark.parametrize(
    ("header", "last", "change"),
    [
        (LABELLED, False, bytes),
        ([*PIXELS, "class"], True, bytes),
        (None, False, bytes),
        (None, True, bytes),
        ([str(number) for number in range(785)], False, bytes),
        (LABELLED, False, lambda content: b"\xef\xbb\xbf" + content.replace(b"\r\n", b"\n\n")),
        (LABELLED, False, lambda content: content.replace(b",", b";")),
        (None, False, lambda content: b'"' + content[:1] + b'"' + content[1:]),
        (LABELLED, False, numbered),
    ],
)  # fmt: skip
def test_the_columns_are_found(
    tmp_path: Path, digits: Arrays, header: list[str] | None, last: bool, change: Change
) -> None:
    sample = few(digits)
    content = change(table(sample["x_train"], sample["y_train"], header, last=last))
    loaded(tmp_path / "a.csv", content, tmp_path / "out")
    np.savez(tmp_path / "a.npz", x_train=sample["x_train"], y_train=sample["y_train"])
    load(str(tmp_path / "a.npz"), tmp_path / "expected", test_size=20)
    for path in (tmp_path / "expected").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.replace(b",0\r\n", b"\r\n", 1), r"expected 785 values in each line, .* Got 784 in line 2\."),
        (lambda c: c.replace(b",0,", b",,", 1), r"Got '' in line \d+, column \d+\. Correct the value"),
        (lambda c: c.replace(b",0,", b",-1,", 1), r"Got '-1' in line \d+, column \d+\."),
        (lambda c: c.replace(b",0,", b",nan,", 1), r"Got 'nan' in line \d+, column \d+\."),
        (lambda c: c.replace(b",0,", b",0x10,", 1), r"Got '0x10' in line \d+, column \d+\."),
        (lambda c: c.replace(b",0,", b",\xff,", 1), r"expected text in UTF-8, .* Got another line \d+"),
        (lambda c: c.replace(b"pixel0", b"label", 1), r"Got 785 columns, of which 2 by name hold labels\."),
        (lambda c: c.replace(b"\r\n", b",1\r\n"), r"expected columns of a label and of the pixels .* Got 786 columns"),
        (lambda c: c[: c.index(b"\n") + 1], r"expected at least one image"),
        (lambda c: gzip.compress(c)[:-30], r"expected a table\. Got a damaged file \(Compressed file ended"),
        (lambda c: c.replace(b"\r\n", b"," * tables.LINE_BYTES, 1), r"expected lines of at most \d+ bytes\. Got a l"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_images_is_refused(tmp_path: Path, digits: Arrays, change: Change, match: str) -> None:
    sample = few(digits)
    content = change(table(sample["x_train"], sample["y_train"], LABELLED))
    with pytest.raises(InputError, match=match):
        loaded(tmp_path / "a.csv", content, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_of_a_table_may_be_texts(tmp_path: Path, digits: Arrays) -> None:
    sample = few(digits)
    labels = np.where(np.equal(sample["y_train"], 1), "1", "not")
    lines = loaded(tmp_path / "a.csv", table(sample["x_train"], labels, LABELLED), tmp_path / "out")
    assert "labels: 1, not numbered from 0 to 1" in lines


def test_a_small_table_that_unpacks_to_much_is_refused(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = few(digits)
    content = gzip.compress(table(np.zeros_like(sample["x_train"]), sample["y_train"], None))
    loaded(tmp_path / "a.csv", content, tmp_path / "out")
    monkeypatch.setattr(stream, "PACKED_BYTES", 2**10)
    monkeypatch.setattr(stream, "PACKED_TIMES", 10)
    with pytest.raises(InputError, match=r"expected at most \d+ bytes in a file of \d+\. Got more\."):
        loaded(tmp_path / "a.csv", content, tmp_path / "out")
