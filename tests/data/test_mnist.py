"""The data set in the repository is the published one, byte for byte."""

import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from digits.sources.arrays import IDX_MAGIC, IDX_NAMES, NPZ_NAMES
from tests.support.arrays import idx_bytes
from tests.support.project import ROOT, Arrays


def published_sums() -> dict[str, str]:
    """The MD5 of each original file, from the table in data/README.md."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([\w-]+-ubyte)` \| `([0-9a-f]{32})` \|$", text, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def mnist() -> Arrays:
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_the_table_names_the_four_files() -> None:
    assert tuple(published_sums()) == IDX_NAMES


@pytest.mark.parametrize(("key", "name"), list(zip(NPZ_NAMES, IDX_NAMES, strict=True)))
def test_the_arrays_are_the_original_files(mnist: Arrays, key: str, name: str) -> None:
    assert md5(idx_bytes(mnist[key])) == published_sums()[name]


def test_the_magic_numbers_are_those_of_the_originals(mnist: Arrays) -> None:
    heads = [struct.unpack(">I", idx_bytes(mnist[key])[:4])[0] for key in NPZ_NAMES]
    assert heads == list(IDX_MAGIC)


def test_the_archive_holds_nothing_else(mnist: Arrays) -> None:
    assert set(mnist) == set(NPZ_NAMES)
    assert {(key, str(array.dtype), array.shape) for key, array in mnist.items()} == {
        ("x_train", "uint8", (60000, 28, 28)),
        ("y_train", "uint8", (60000,)),
        ("x_test", "uint8", (10000, 28, 28)),
        ("y_test", "uint8", (10000,)),
    }
    assert Path(ROOT / "data" / "mnist.npz").stat().st_size < 12 * 2**20
