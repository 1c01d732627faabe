"""Write arrays and data sets as files, in the forms that tests need."""

import json
from pathlib import Path

import numpy as np

from bench.faults import files
from digits.data.classes import numbered
from digits.data.dataset import Dataset, Form, ImagesPerClass, write_dataset
from digits.sources.arrays import IDX_NAMES, NPZ_NAMES
from tests.support.project import Arrays

saved, with_head, idx_bytes, flip = files.saved, files.with_head, files.idx_bytes, files.flip


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the name and the content of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write_idx(folder: Path, digits: Arrays) -> Path:
    """Write the four IDX files into a folder."""
    folder.mkdir()
    for key, name in zip(NPZ_NAMES, IDX_NAMES, strict=True):
        (folder / name).write_bytes(idx_bytes(digits[key]))
    return folder


def tiled(digits: Arrays, times: int) -> Arrays:
    """Return the sample with its training set repeated."""
    return digits | {"x_train": np.tile(digits["x_train"], (times, 1, 1)), "y_train": np.tile(digits["y_train"], times)}


def sample_dataset(classes: int = 10) -> Dataset:
    """Return the description of a data set of 28 x 28 images."""
    counts = [1] * classes
    return Dataset(
        image_shape=(28, 28),
        classes=numbered(classes),
        images=ImagesPerClass(train=counts, test=counts),
        ink="light",
        form=Form(box=20, centred_by="mass"),
    )


def write_load_params(folder: Path, source: str | Path, transpose: object = "auto") -> Path:
    """Write a params.yaml with only the section `load`, as JSON, which is also YAML."""
    path = folder / "params.yaml"
    path.write_text(json.dumps({"load": {"source": str(source), "test_size": 0, "transpose": transpose}}))
    return path


def write_prepared(folder: Path, digits: Arrays) -> Path:
    """Write the splits of the small sample (300 training and 100 test images) and its description into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, keras_split, rows in (("train", "train", 300), ("validation", "train", 0), ("test", "test", 100)):
        images, labels = digits[f"x_{keras_split}"][:rows], digits[f"y_{keras_split}"][:rows]
        np.save(folder / f"{split}_features.npy", images.reshape(rows, 784).astype(np.float32) / np.float32(255))
        np.save(folder / f"{split}_labels.npy", labels)
    write_dataset(folder / "dataset.json", sample_dataset())
    return folder
