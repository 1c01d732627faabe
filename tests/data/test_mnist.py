"""The data set in the repository is the published one, byte for byte."""

import hashlib
import re

import numpy as np

from digits.sources.arrays import IDX_NAMES, NPZ_NAMES
from tests.support.arrays import idx_bytes
from tests.support.project import ROOT

#: The magic numbers: two zero bytes, 8 for unsigned byte, the number of dimensions.
IDX_MAGIC = (0x00000803, 0x00000801, 0x00000803, 0x00000801)


def test_the_arrays_are_the_original_files() -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    published = dict(re.findall(r"^\| `([\w-]+-ubyte)` \| `([0-9a-f]{32})` \|$", text, flags=re.MULTILINE))
    assert tuple(published) == IDX_NAMES
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as arrays:
        mnist = dict(arrays)
    assert set(mnist) == set(NPZ_NAMES)  # the file has no other arrays
    for key, name, magic in zip(NPZ_NAMES, IDX_NAMES, IDX_MAGIC, strict=True):
        content = idx_bytes(mnist[key])
        assert mnist[key].dtype == np.uint8
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == published[name]
        assert int.from_bytes(content[:4], "big") == magic
    assert (ROOT / "data" / "mnist.npz").stat().st_size < 12 * 2**20
