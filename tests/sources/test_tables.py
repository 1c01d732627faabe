"""CSV tables: which column is which, and what is not a table of images."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digits.sources import tables, tree
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import snapshot
from tests.support.forms import LABELLED, PIXELS, few, table
from tests.support.project import Arrays

Change = Callable[[bytes], bytes]


def numbered(content: bytes) -> bytes:
    """Add a column that numbers the rows, as pandas writes it."""
    first, *rest = content.splitlines()
    return b"".join([b"," + first + b"\n", *(b"%d,%b\n" % pair for pair in enumerate(rest))])


def loaded(path: Path, content: bytes) -> list[str]:
    """Load one table, and keep 20 images of it for the test set."""
    path.write_bytes(content)
    return load(str(path), path.parent / "out", test_size=20)


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
        (LABELLED, False, lambda content: content.replace(b"\r\n5,", b"\r\n5.0,")),
    ],
)
def test_the_columns_are_found(
    tmp_path: Path, digits: Arrays, header: list[str] | None, last: bool, change: Change
) -> None:
    sample = few(digits)
    loaded(tmp_path / "a.csv", change(table(sample["x_train"], sample["y_train"], header, last=last)))
    np.savez(tmp_path / "a.npz", x_train=sample["x_train"], y_train=sample["y_train"])
    load(str(tmp_path / "a.npz"), tmp_path / "expected", test_size=20)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "expected")


BAD: dict[str, tuple[Change, str]] = {
    "too few values": (lambda c: c.replace(b",0\r\n", b"\r\n", 1), r"line 2 has 784 values, and the first line 785\."),
    "no value": (lambda c: c.replace(b",0,", b",,", 1), r"Got '' in line \d+, column \d+\. Correct the value"),
    "negative": (lambda c: c.replace(b",0,", b",-1,", 1), r"Got '-1' in line \d+, column \d+\."),
    "hexadecimal": (lambda c: c.replace(b",0,", b",0x10,", 1), r"Got '0x10' in line \d+, column \d+\."),
    "no UTF-8": (lambda c: c.replace(b",0,", b",\xff,", 1), r"not a table in UTF-8 \('utf-8' codec"),
    "two columns of labels": (lambda c: c.replace(b"pixel0", b"label", 1), r"Got 785 columns, 2 of them labels"),
    "no square": (lambda c: c.replace(b"\r\n", b",1\r\n"), r"expected a column of labels and the .* Got 786 columns"),
    "a header alone": (lambda c: c[: c.index(b"\n") + 1], r"expected 1 to \d+ images\. Got 0\."),
    "a label of ten digits": (lambda c: c.replace(b"\r\n5,", b"\r\n5000000000,", 1), "at most nine digits. Got 50000"),
    "a cut .gz": (
        lambda c: gzip.compress(c)[:-30],
        r"the file is damaged, or not a packed file \(Compressed file ended",
    ),
    "a long line": (lambda c: c.replace(b"\r\n", b"," * tables.LINE, 1), r"it has a line of more than \d+ char"),
}


@pytest.mark.parametrize(("change", "match"), BAD.values(), ids=BAD)
def test_what_is_not_a_table_of_images_is_refused(tmp_path: Path, digits: Arrays, change: Change, match: str) -> None:
    sample = few(digits)
    with pytest.raises(InputError, match=match):
        loaded(tmp_path / "a.csv", change(table(sample["x_train"], sample["y_train"], LABELLED)))
    assert not (tmp_path / "out").exists()


def test_labels_of_a_table_may_be_texts(tmp_path: Path, digits: Arrays) -> None:
    sample = few(digits)
    labels = np.where(np.equal(sample["y_train"], 1), "1", "not")
    lines = loaded(tmp_path / "a.csv", table(sample["x_train"], labels, LABELLED))
    assert "labels: 1, not numbered from 0 to 1" in lines


def test_a_small_table_that_unpacks_to_much_is_refused(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = few(digits)
    content = gzip.compress(table(np.zeros_like(sample["x_train"]), sample["y_train"], None))
    loaded(tmp_path / "a.csv", content)
    monkeypatch.setattr(tree, "PACKED_BYTES", 2**10)
    monkeypatch.setattr(tree, "PACKED_TIMES", 10)
    with pytest.raises(InputError, match=r"it unpacks to more than \d+ bytes"):
        loaded(tmp_path / "a.csv", content)
