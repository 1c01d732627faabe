"""Tables, CSV and Parquet: the roles of columns, tables without images, and bounds."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from digits.sources import tables, tree
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import snapshot
from tests.support.forms import LABELLED, PIXELS, few, picture, table
from tests.support.project import Arrays

Change = Callable[[bytes], bytes]


def numbered(content: bytes) -> bytes:
    """Add a column that numbers the rows, as pandas writes it."""
    first, *rest = content.splitlines()
    return b"".join([b"," + first + b"\n", *(b"%d,%b\n" % pair for pair in enumerate(rest))])


def loaded(path: Path, content: bytes) -> list[str]:
    """Load a table with 20 of its images as the test set, and return the output lines."""
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
    "negative": (lambda c: c.replace(b",0,", b",-1,", 1), r"Got '-1' in line \d+, column \d+\. Correct the value"),
    "an endless number": (lambda c: c.replace(b",0,", b"," + b"9" * 400 + b",", 1), r"Got '9{40}' in line \d+, col"),
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


# Parquet

IMAGES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path, store_schema=False)
    return str(path)


def cells(digits: Arrays) -> Any:
    return pa.array([{"bytes": picture(image), "path": None} for image in few(digits)["x_train"]], IMAGES)


def test_a_column_for_each_pixel_is_read(tmp_path: Path, digits: Arrays) -> None:
    sample = few(digits)
    pixels, others = sample["x_train"].reshape(-1, 784), {"class": sample["y_train"].astype(str), "id": range(120)}
    columns = {f"pixel{k}": pixels[:, k] for k in range(784)} | others
    load(write(tmp_path / "a.parquet", **columns), tmp_path / "out", test_size=20)
    np.savez(tmp_path / "a.npz", x_train=sample["x_train"], y_train=sample["y_train"])
    load(str(tmp_path / "a.npz"), tmp_path / "expected", test_size=20)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "expected")


def test_a_row_without_a_label_or_image_is_named(tmp_path: Path, digits: Arrays) -> None:
    labels = few(digits)["y_train"].tolist()
    source = write(tmp_path / "a.parquet", image=cells(digits), label=pa.array([*labels[:7], None, *labels[8:]]))
    with pytest.raises(InputError, match=r"row 7 has no label\. Leave out"):
        load(source, tmp_path / "out", test_size=20)
    images = pa.array([*cells(digits).to_pylist()[:5], None, *cells(digits).to_pylist()[6:]], IMAGES)
    source = write(tmp_path / "a.parquet", image=images, label=pa.array(labels))
    with pytest.raises(InputError, match=r"row 5 in .*: the file is empty\."):
        load(source, tmp_path / "out", test_size=20)


def test_a_value_that_is_in_many_rows_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    much = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), pa.array([bytes(2**22)]))
    source = write(tmp_path / "a.parquet", image=much, label=np.arange(5000) % 2)
    monkeypatch.setattr(tables, "BATCH_BYTES", 2**24)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(InputError, match="the picture has more than 1048576 bytes"):
        load(source, tmp_path / "out", test_size=20)
    assert pa.default_memory_pool().max_memory() - before < 2**27  # 5000 such pictures would take 20 GB


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"image": [b"a"] * 3}, "its columns are not images and labels: image"),
        ({"image": [b"a"] * 3, "label": [0, 1, 2], "labels": [0, 1, 2]}, ": image, label, labels"),
        (
            {"image": [b"a"] * 3, "label": ["a" * 5000] * 3},
            "expected labels as whole numbers or short texts\\. Got <U5000",
        ),
        ({"image": [b"a"] * 3, "label": [{"a": 1}] * 3}, "short texts. Got object"),
        ({"image": [b"a"] * 3, "label": [0, 1, 2]}, "row 0 in .*: this is not a picture"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, columns: dict[str, Any], match: str) -> None:
    source = write(tmp_path / "a.parquet", **{name: pa.array(values) for name, values in columns.items()})
    with pytest.raises(InputError, match=match):
        load(source, tmp_path / "out", test_size=1)


def test_large_groups_of_rows_are_refused(tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.parquet", image=cells(digits), label=few(digits)["y_train"])
    monkeypatch.setattr(tables, "GROUP_BYTES", 1000)
    with pytest.raises(InputError, match=r"expected groups of rows of at most 1000 bytes\. Got \d+ bytes\. Write"):
        load(source, tmp_path / "out", test_size=20)


def test_without_the_library_the_step_is_named(tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.parquet", image=cells(digits), label=few(digits)["y_train"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"reading Parquet needs the package pyarrow\. Run `make setup WITH=parquet`"):
        load(source, tmp_path / "out", test_size=20)
