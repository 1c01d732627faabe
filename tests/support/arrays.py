"""Arrays and data sets as files, in the forms that tests need them in."""

import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.data.dataset import Dataset, ImagesPerClass, write_dataset
from digits.data.form import Form
from digits.data.labels import numbered
from digits.sources.arrays import IDX_NAMES, NPZ_NAMES
from tests.support.project import Arrays


def snapshot(folder: Path) -> dict[str, bytes]:
    """Name and content of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def saved(array: NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_head(head: str, values: bytes = b"") -> bytes:
    """A .npy file with any text as its head."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode("latin1") + values


def idx_bytes(array: NDArray[np.generic]) -> bytes:
    """An array of uint8 as an IDX file: magic number, lengths, values, all big-endian."""
    magic = 0x0800 | array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_idx(folder: Path, digits: Arrays, *, packed: tuple[str, ...] = ()) -> Path:
    """The folder of the four IDX files, those in `packed` with gzip."""
    folder.mkdir()
    for key, name in zip(NPZ_NAMES, IDX_NAMES, strict=True):
        content = idx_bytes(digits[key])
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def flip(content: bytes, position: int) -> bytes:
    """The content with one bit turned over."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def tiled(digits: Arrays, times: int) -> Arrays:
    """The training set of the sample, repeated."""
    return digits | {
        "x_train": np.tile(digits["x_train"], (times, 1, 1)),
        "y_train": np.tile(digits["y_train"], times),
    }


def sample_dataset(classes: int = 10) -> Dataset:
    """What a data set of 28 x 28 images with so many classes is."""
    counts = [1] * classes
    return Dataset(
        image_shape=(28, 28),
        classes=numbered(classes),
        images=ImagesPerClass(train=counts, test=counts),
        ink="light",
        form=Form(box=20, centred_by="mass"),
    )


def write_load_params(folder: Path, source: str | Path) -> Path:
    """A params.yaml with the section `load` alone. JSON is YAML."""
    path = folder / "params.yaml"
    path.write_text(json.dumps({"load": {"source": str(source), "test_size": 0, "transpose": "auto"}}))
    return path


def write_prepared(folder: Path, digits: Arrays) -> Path:
    """The splits of the small sample (300 training and 100 test images), with what the data set is, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, keras_split, rows in (("train", "train", 300), ("validation", "train", 0), ("test", "test", 100)):
        images, labels = digits[f"x_{keras_split}"][:rows], digits[f"y_{keras_split}"][:rows]
        np.save(folder / f"{split}_features.npy", images.reshape(rows, 784).astype(np.float32) / np.float32(255))
        np.save(folder / f"{split}_labels.npy", labels)
    write_dataset(folder / "dataset.json", sample_dataset())
    return folder
