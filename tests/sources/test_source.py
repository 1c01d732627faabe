"""The forms of a data set: each gives the same bytes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from digits.sources.arrays import IDX_NAMES
from digits.sources.source import open_source
from tests.support.arrays import saved, write_idx
from tests.support.loading import KEYS, refused, run_load
from tests.support.project import Arrays
from tests.support.server import Server


def test_every_form_gives_the_same_bytes(tmp_path: Path, small_npz: Path, digits: Arrays, server: Server) -> None:
    server.files["small.npz"] = small_npz.read_bytes()
    np.savez(tmp_path / "stored.npz", **digits)  # type: ignore[arg-type]
    forms: dict[str, str | Path] = {
        "npz": small_npz,
        "npz, not compressed": tmp_path / "stored.npz",
        "idx": write_idx(tmp_path / "idx", digits),
        "idx, packed": write_idx(tmp_path / "packed", digits, packed=IDX_NAMES),
        "idx, mixed": write_idx(tmp_path / "mixed", digits, packed=IDX_NAMES[1:3]),
        "https": server.address("small.npz"),
        "https, large letters": server.address(
            "small.npz", hashlib.sha256(server.files["small.npz"]).hexdigest().upper()
        ),
    }
    written = {form: run_load(tmp_path / form, source) for form, source in forms.items()}
    expected = {f"{name}.npy": saved(digits[key]) for name, key in KEYS.items()}
    for form, files in written.items():
        assert files == expected | {"dataset.json": written["npz"]["dataset.json"]}, form


def test_a_stream_has_its_form_and_gives_its_values_in_blocks(small_npz: Path, digits: Arrays) -> None:
    with open_source(str(small_npz)) as source:
        images = source.train.images
        assert (images.name, images.shape) == (f"x_train in {small_npz}", (600, 28, 28))
        for _ in range(2):
            assert np.array_equal(np.concatenate(list(images.blocks())), digits["x_train"])
        assert np.array_equal(source.test.labels, digits["y_test"])
        assert source.notes == []


@pytest.mark.parametrize("source", ["missing.npz", "missing/", "\x00", "x" * 200])
def test_a_source_that_is_not_there_is_refused(tmp_path: Path, source: str) -> None:
    line = refused(tmp_path, source)
    assert "expected a file, a folder, or https://...#sha256=.... Got no such file or folder." in line
    assert "Set `load.source` in params.yaml to a data set that exists." in line
