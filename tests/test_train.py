"""The stage `train` from its command line: what it refuses, what it writes."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import numerics
from stages.console import InputError
from stages.train import Settings, build, read_settings
from stages.train import train as run_train
from tests.conftest import ROOT, Arrays, run
from verify.hashes import file_hash


@pytest.fixture
def prepared(tmp_path: Path, digits: Arrays) -> Path:
    """A folder with params.yaml (one epoch, 16 units) and the splits of the small sample in `data`."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("units: 512", "units: 16").replace("epochs: 5", "epochs: 1")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    for split, keras_split, rows in (("train", "train", 300), ("validation", "train", 0), ("test", "test", 100)):
        images, labels = digits[f"x_{keras_split}"][:rows], digits[f"y_{keras_split}"][:rows]
        np.save(data / f"{split}_features.npy", images.reshape(rows, 784).astype(np.float32) / np.float32(255))
        np.save(data / f"{split}_labels.npy", labels)
    return tmp_path


def train(folder: Path) -> tuple[int, str]:
    """Run the stage in a folder; give back its exit status and what it wrote on standard error."""
    outputs = ("--model", "model.keras", "--history", "history.csv", "--platform", "platform.json")
    command = (sys.executable, "-m", "stages.train", "--params", "params.yaml", "--data", "data", *outputs)
    result = run(*command, cwd=folder, env={"PYTHONPATH": str(ROOT)})
    return result.returncode, result.stderr


def outputs(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"params.yaml", "data"}


def test_it_writes_model_history_and_platform(prepared: Path) -> None:
    assert train(prepared) == (0, "")
    assert outputs(prepared) == {"model.keras", "history.csv", "platform.json"}
    assert (prepared / "history.csv").read_text().startswith("epoch,accuracy,loss\n1,0.")
    record = json.loads((prepared / "platform.json").read_text())
    assert record["model_sha256"] == file_hash(prepared / "model.keras")
    assert {"tensorflow", "keras", "numpy", "machine", "cpu_flags", "may_differ_in_bits_because"} <= set(record)


def change(name: str, values: object) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "data" / f"{name}.npy", values)  # type: ignore[arg-type]


BAD_DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "no features": (lambda folder: (folder / "data" / "train_features.npy").unlink(), "no such file"),
    "NaN": (
        change("train_features", np.full((300, 784), np.nan, np.float32)),
        "numbers in [0, 1]. Got values from nan",
    ),
    "beyond 1": (
        change("train_features", np.full((300, 784), 2, np.float32)),
        "numbers in [0, 1]. Got values from 2.0",
    ),
    "float64": (change("train_features", np.zeros((300, 784))), "expected float32 [n, 784]. Got float64 [300, 784]"),
    "wrong shape": (change("train_features", np.zeros((300, 28, 28), np.float32)), "Got float32 [300, 28, 28]"),
    "fewer labels": (change("train_labels", np.zeros(299, np.uint8)), "300 images and 299 labels"),
    "no label 0": (
        change("train_labels", np.full(300, 10, np.uint8)),
        "train_labels.npy: expected images of every class from 0 to 10. Got none of class 0, and label 10 at pos",
    ),
    "a class only in the validation split": (
        lambda folder: (
            change("validation_features", np.zeros((2, 784), np.float32))(folder),
            change("validation_labels", np.array([0, 10], np.uint8))(folder),
        ),
        "validation_labels.npy: expected labels from 0 to 9, the classes of the training set. Got 10 at position 1",
    ),
    "empty": (
        lambda folder: (
            change("train_features", np.zeros((0, 784), np.float32))(folder),
            change("train_labels", np.zeros(0, np.uint8))(folder),
        ),
        "expected at least one row. Got none",
    ),
    "pickle": (change("train_labels", np.array([{}] * 300, dtype=object)), "expected uint8 [n]. Got object [300]"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused_in_one_line(case: str, prepared: Path) -> None:
    damage, message = BAD_DATA[case]
    (prepared / "model.keras").write_bytes(b"the model of before")
    damage(prepared)
    status, error = train(prepared)
    assert status == 1
    assert error.startswith("ERROR: ")
    assert message in error
    assert error.count("\n") == 1
    assert outputs(prepared) == {"model.keras"}
    assert (prepared / "model.keras").read_bytes() == b"the model of before"


OTHER = {"optimizer": "sgd", "learning_rate": 0.5, "epochs": 9, "batch_size": 9, "rise": 0.5}


@pytest.mark.parametrize("model", ["dense", "convnet"])
def test_each_parameter_reaches_its_network_and_no_other(model: str) -> None:
    numerics.configure(seed=0)
    train, convnet = read_settings(ROOT / "params.yaml")
    settings = Settings(train.model_copy(update={"model": model}), convnet)
    network, how = build(settings, 10)
    section, other = ("train", "convnet") if model == "dense" else ("convnet", "train")
    for name, value in OTHER.items():
        if name in type(getattr(settings, section)).model_fields:
            assert build(changed(settings, section, name, value), 10)[1] == how | {name: value}
        if name in type(getattr(settings, other)).model_fields:
            assert build(changed(settings, other, name, value), 10)[1] == how
    for name in ("seed", "shards"):
        assert build(changed(settings, "train", name, 9), 10)[1] == how | {name: 9}
    width = {"dense": "units", "convnet": "filters"}[model]
    wider = build(changed(settings, section, width, 2 * getattr(getattr(settings, section), width)), 10)[0]
    assert wider.count_params() > 1.5 * network.count_params()
    assert build(settings, 3)[0].output_shape == (None, 3)


def test_the_bounds_of_the_warp_are_not_exchanged() -> None:
    settings = read_settings(ROOT / "params.yaml")
    settings = changed(settings, "train", "model", "convnet")
    warp = build(changed(changed(settings, "convnet", "shift", 3.0), "convnet", "distortion", 0.25), 10)[1]["warp"]
    assert (warp.shift, warp.distortion) == (3.0, 0.25)


def changed(settings: Settings, section: str, name: str, value: object) -> Settings:
    return settings._replace(**{section: getattr(settings, section).model_copy(update={name: value})})


@pytest.mark.parametrize("model", ["dense", "convnet"])
def test_a_training_that_diverges_writes_nothing(prepared: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    numerics.configure(seed=0)
    from stages import training

    monkeypatch.setattr(training, "train", lambda *_, **__: {"loss": [math.nan], "accuracy": [0.1]})
    settings = changed(read_settings(prepared / "params.yaml"), "train", "model", model)
    files = (prepared / name for name in ("model.keras", "history.csv", "platform.json"))
    section = {"dense": "train", "convnet": "convnet"}[model]
    with pytest.raises(InputError, match=rf"expected a finite number\. Got nan\. Lower `{section}\.learning_rate`\."):
        run_train(settings, prepared / "data", *files)
    assert outputs(prepared) == set()
