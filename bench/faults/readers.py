"""Read generated inputs as the project does, and check accepted inputs with a second, independent reading."""

import csv
import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from bench.faults.judge import Reader, WrongError
from digits.apps import predict, reading, report, runs, summary
from digits.apps.handwriting import prepare
from digits.apps.options import Files
from digits.apps.repro import require_params
from digits.apps.results import study_params
from digits.data.dataset import Dataset, Form, ImagesPerClass, read_dataset
from digits.data.splits import open_split
from digits.networks import read_network
from digits.params import read_params
from digits.scoring.history import read_history
from digits.sources.arrays import IDX_NAMES, NPZ_NAMES
from dvcproof.lockfile import read_lock, require_same_params
from stages.load import load
from stages.preprocess import preprocess


def require(true: object, what: str) -> None:
    """Raise WrongError with the text `what` unless the condition is true."""
    if not true:
        raise WrongError(what)


def params(folder: Path) -> None:
    path = folder / "params.yaml"
    require_params(path)
    train, network = read_network(path)
    found = read_params(path, "load", "preprocess", "evaluate", "class_names")
    study_params(path)
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))  # as DVC reads it
    sections = {name: getattr(found, name) for name in ("load", "preprocess", "evaluate")}
    for name, section in {**sections, "train": train, train.model: network}.items():
        require(_same(section.model_dump(), document[name]), f"section {name} is {section}, for DVC {document[name]}")
    require(found.class_names == document["class_names"], f"the names are {found.class_names}")
    require(1 <= network.epochs <= 10000 and 0 < network.learning_rate <= 10, f"{network}")


def _same(one: Any, other: Any) -> bool:
    """Compare nested values. A truth value equals no number; an integer equals the same float."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(_same(one[key], other[key]) for key in one)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def lock(folder: Path) -> None:
    found = read_lock(folder / "dvc.lock")
    found.params(), found.inputs(), found.outputs()
    for path in found.files():
        names = found.upstream(path)
        require(len(set(names)) == len(names), f"{names}")
    document = YAML(typ="safe").load((folder / "dvc.lock").read_text(encoding="utf-8"))
    require(list(found.stages) == list(document.get("stages", {})), "other stages")
    require_same_params(found, folder / "params.yaml")


def npz(folder: Path) -> None:
    load(str(folder / "data.npz"), folder / "out", test_size=0)
    with np.load(folder / "data.npz", allow_pickle=False) as arrays:
        _require_loaded(folder / "out", [arrays[key] for key in NPZ_NAMES])


#: The type of the values for the third byte of an IDX file.
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx(folder: Path) -> None:
    load(str(folder / "data"), folder / "out", test_size=0)
    arrays = []
    for name in IDX_NAMES:
        plain = folder / "data" / name
        content = (plain if plain.exists() else plain.with_name(f"{name}.gz")).read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        kind, dimensions = content[2:4]
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        arrays.append(np.frombuffer(content[4 + 4 * dimensions :], IDX_TYPES[kind]).reshape(shape))
    _require_loaded(folder / "out", arrays)


def _require_loaded(out: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Compare the files that `load` wrote with the arrays of both sets. In each set the images have more dimensions."""
    sets = {"train": sorted(arrays[:2], key=np.ndim), "test": sorted(arrays[2:], key=np.ndim)}
    classes = sorted(set(sets["train"][0].ravel().tolist()))
    for split, (labels, images) in sets.items():
        written = [np.load(out / f"{split}_{what}.npy", allow_pickle=False) for what in ("labels", "images")]
        require(all(array.dtype == np.uint8 for array in written), f"{split}: {[array.dtype for array in written]}")
        require([classes[k] for k in written[0].tolist()] == labels.ravel().tolist(), f"{split}: other labels")
        require(np.array_equal(written[1].ravel(), images.ravel()), f"{split}: other images")
        require(len(written[0]) == len(written[1]) == len(images), f"{split}: {images.shape}")
    names = [str(int(label)) for label in classes]
    require(json.loads((out / "dataset.json").read_text())["classes"] == names, "names")


def npy(folder: Path) -> None:
    dataset = read_dataset(folder / "dataset.json")
    for name in ("train", "test", "validation"):
        split = open_split(folder, name, dataset, may_be_empty=name == "validation")
        features = np.load(folder / f"{name}_features.npy", allow_pickle=False)
        require(np.array_equal(split.features.read(), features), f"{name}: other values")
        require(np.array_equal(split.features.rows(0, len(features)), features), f"{name}: other rows")
        require(features.dtype == np.float32 and features.shape[1:] == (784,), f"{name}: {features.shape}")
        require(((features >= 0) & (features <= 1)).all(), f"{name}: not in [0, 1]")
        require(np.array_equal(split.labels, np.load(folder / f"{name}_labels.npy")), f"{name}: other labels")
    preprocess(0, folder, folder / "out")
    images = np.load(folder / "train_images.npy")
    features = np.load(folder / "out" / "train_features.npy")
    require(np.array_equal(features, images.reshape(-1, 784) / np.float32(255)), "other features")


def metrics(folder: Path) -> None:
    text = summary.summarize(folder)
    require("nan" not in text and "inf" not in text, text)
    epochs = read_history(folder / "history.csv")
    require(np.isfinite([value for epoch in epochs for value in epoch.values()]).all(), f"{epochs}")
    run = runs.read_run(Files(lock=folder / "dvc.lock", metrics=folder))
    require(np.isfinite([*run.scores.values()]).all(), f"{run.scores}")
    for name, rows in (("history.csv", len(epochs)), ("confusion.csv", len(run.labels))):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            require(len([row for row in csv.reader(file) if row]) == rows + 1, f"other rows of {name}")
    report.platform(folder / "platform.json", "0" * 64)


def pictures(folder: Path) -> None:
    content = predict.read(str(folder / "picture"))
    forms: list[tuple[Form | None, Any]] = [(Form(box=20, centred_by="mass"), (28, 28)), (None, (16, 32, 3))]
    for form, shape in forms:
        counts = ImagesPerClass(train=[1, 1], test=[1, 1])
        dataset = Dataset(image_shape=shape, classes=["0", "1"], images=counts, ink="light", form=form)
        images = prepare("picture", content, dataset).images
        require(images.shape[1:] == shape and len(images) > 0 and images.dtype == np.uint8, f"{images.shape}")
        require(form is None or bool((images.max(axis=(1, 2)) == 255).all()), "no full ink")


def models() -> Reader:
    from exactkeras import determinism

    determinism.configure(seed=0)
    import keras

    digits = np.zeros((3, 28, 28), np.uint8)
    digits[1], digits[2, 5:20, 12:16] = 255, 255

    def read(folder: Path) -> None:
        probabilities = reading.open_classifier(folder / "model.keras").probabilities(digits)
        keras.backend.clear_session()
        require(np.isfinite(probabilities).all() and np.allclose(probabilities.sum(axis=1), 1), f"{probabilities}")
        try:
            model = keras.models.load_model(folder / "model.keras", compile=False)
        except Exception:  # Keras may refuse settings that the reader ignores
            return
        expected = model(digits.reshape(3, 784).astype(np.float32) / np.float32(255)).numpy()
        require(np.allclose(expected, probabilities, atol=1e-3), f"{probabilities} for Keras's {expected}")

    return read


def reader(kind: str) -> Reader:
    """Return the reader of a kind in `bench.faults.generate.KINDS`, after importing the modules that it needs."""
    if kind == "models":
        return models()
    return {one.__name__: one for one in (params, lock, npz, idx, npy, metrics, pictures)}[kind]
