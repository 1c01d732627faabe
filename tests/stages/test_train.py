"""The stage `train`: what it writes, what it refuses, and that its parameters reach the training."""

import json
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.data.dataset import read_dataset
from digits.data.splits import open_split
from digits.networks import read_network
from dvcproof.runtime.files import file_hash, read_csv
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from stages import train as stage
from stages.train import require_finite
from tests.support.arrays import write_prepared
from tests.support.project import AT_ROOT, Arrays, recipe_params, run
from tests.support.refusal import refusal, refused_by


@pytest.fixture
def prepared(tmp_path: Path, digits: Arrays) -> Path:
    """A folder with params.yaml (one epoch of a small network) and the splits of the small sample in `data`."""
    small = {"epochs": 1}
    recipe_params(tmp_path, dense=small | {"units": 16}, convnet=small | {"filters": 4})
    write_prepared(tmp_path / "data", digits)
    return tmp_path


def options(folder: Path) -> list[str]:
    """The stage's command line for what `prepared` made."""
    files = {"params": "params.yaml", "dataset": "data/dataset.json", "data": "data", "model": "model.keras"}
    files |= {"history": "history.csv", "platform": "platform.json"}
    return [word for name, file in files.items() for word in (f"--{name}", str(folder / file))]


def stage_run(folder: Path) -> None:
    """Run the stage in this process; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *options(folder)])
        stage.main()


def outputs(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"params.yaml", "data"}


def test_it_writes_model_history_and_platform(prepared: Path) -> None:
    result = run(sys.executable, "-m", "stages.train", *options(prepared), cwd=prepared, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    assert outputs(prepared) == {"model.keras", "history.csv", "platform.json"}
    assert (prepared / "history.csv").read_text().startswith("epoch,accuracy,loss\n1,0.")
    record = json.loads((prepared / "platform.json").read_text())
    assert record["model_sha256"] == file_hash(prepared / "model.keras")
    assert {"tensorflow", "keras", "numpy", "machine", "cpu_flags"} <= set(record)
    assert record["may_differ_in_bits_because"] == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["| true", "> /dev/full"])
def test_a_training_outlives_whoever_reads_along(prepared: Path, ending: str) -> None:
    command = shlex.join([sys.executable, "-m", "stages.train", *options(prepared)])
    result = run("bash", "-c", f"set -o pipefail; {command} {ending}", cwd=prepared, env=AT_ROOT)
    assert result.returncode == 0, result.stderr
    assert outputs(prepared) == {"model.keras", "history.csv", "platform.json"}


def change(name: str, values: object) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "data" / f"{name}.npy", values)  # type: ignore[arg-type]


def without_class(label: int) -> Callable[[Path], object]:
    """Make the training images of a class those of the next one."""

    def damage(folder: Path) -> None:
        path = folder / "data" / "train_labels.npy"
        labels = np.load(path)
        np.save(path, np.where(labels == label, (label + 1) % 10, labels).astype(np.uint8))

    return damage


BAD_DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "no features": (lambda folder: (folder / "data" / "train_features.npy").unlink(), "no such file"),
    "no description": (
        lambda folder: (folder / "data" / "dataset.json").unlink(),
        "dataset.json: expected the description of the data set that `load` writes. Got no such file. Run `dvc repro`",
    ),
    "damaged description": (
        lambda folder: (folder / "data" / "dataset.json").write_text("{", encoding="utf-8"),
        "Got a damaged file",
    ),
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
        without_class(0),
        "train_labels.npy: expected images of every class from 0 to 9. Got none of class 0. Keep back fewer images",
    ),
    "no label 9": (without_class(9), "expected images of every class from 0 to 9. Got none of class 9."),
    "a label beyond the classes": (
        change("train_labels", np.full(300, 10, np.uint8)),
        "train_labels.npy: expected labels from 0 to 9, the classes of the training set. Got 10 at position 0",
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
    assert message in refusal(stage.main, *options(prepared))
    assert outputs(prepared) == {"model.keras"}
    assert (prepared / "model.keras").read_bytes() == b"the model of before"


def test_the_program_exits_with_1(prepared: Path) -> None:
    (prepared / "data" / "train_labels.npy").unlink()
    line = refused_by(run(sys.executable, "-m", "stages.train", *options(prepared), cwd=prepared, env=AT_ROOT))
    assert "train_labels.npy: expected " in line
    assert outputs(prepared) == set()


def test_an_unknown_network_is_refused(prepared: Path) -> None:
    set_params(prepared / "params.yaml", {"train.model": "linear"})
    line = refusal(stage.main, *options(prepared))
    assert line.endswith("expected one of 'dense', 'convnet'. Got 'linear'. Change 'train.model'.")
    assert outputs(prepared) == set()


@pytest.mark.parametrize(("name", "hint"), [("linear", "Remove it or correct"), ("denes", "Did you mean 'dense'?")])
def test_an_unknown_section_is_refused(prepared: Path, name: str, hint: str) -> None:
    with (prepared / "params.yaml").open("a", encoding="utf-8") as file:
        file.write(f"\n{name}:\n  units: 16\n")
    line = refusal(stage.main, *options(prepared))
    assert f"parameter '{name}' in " in line
    assert f"dense, convnet. Got the unknown name '{name}'. {hint}" in line
    assert outputs(prepared) == set()


@pytest.mark.slow
@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("model", ["dense", "convnet"])
def test_the_network_of_the_section_is_trained(prepared: Path, model: str) -> None:
    set_params(prepared / "params.yaml", {"train.model": model, f"{model}.epochs": 2})
    stage_run(prepared)
    import keras

    network = keras.models.load_model(prepared / "model.keras")
    settings, section = read_network(prepared / "params.yaml")
    assert settings.model == model
    assert network.count_params() == section.build((28, 28), 10).count_params()
    assert [row["epoch"] for row in read_csv(prepared / "history.csv")] == ["1", "2"]


@pytest.mark.slow
@pytest.mark.usefixtures("tensorflow")
def test_a_validation_split_is_measured(prepared: Path) -> None:
    for kind in ("features", "labels"):
        np.save(
            prepared / "data" / f"validation_{kind}.npy",
            np.load(prepared / "data" / f"test_{kind}.npy")[:50],
        )
    stage_run(prepared)
    (row,) = read_csv(prepared / "history.csv")
    assert set(row) == {"epoch", "accuracy", "loss", "val_accuracy", "val_loss"}


@pytest.mark.slow
@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize(("change", "same"), [({}, True), ({"train.seed": 8}, False), ({"dense.units": 15}, False)])
def test_parameters_decide_the_model(prepared: Path, change: dict[str, Any], same: bool) -> None:
    stage_run(prepared)
    first = file_hash(prepared / "model.keras")
    set_params(prepared / "params.yaml", change)
    stage_run(prepared)
    assert (file_hash(prepared / "model.keras") == first) is same


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("model", ["dense", "convnet"])
def test_a_training_that_diverges_writes_nothing(prepared: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setattr("exactkeras.fit.fit", lambda *_, **__: {"loss": [math.nan], "accuracy": [0.1]})
    set_params(prepared / "params.yaml", {"train.model": model})
    line = refusal(stage.main, *options(prepared))
    assert line.endswith(f"loss of epoch 1: expected a finite number. Got nan. Lower `{model}.learning_rate`.")
    assert outputs(prepared) == set()


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("model", ["dense", "convnet"])
def test_what_the_check_finds_is_shown_and_recorded(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    set_params(prepared / "params.yaml", {"train.model": model})
    settings, section = read_network(prepared / "params.yaml")
    asked = []

    def deviations(network: Any, recipe: Any, images: int) -> list[str]:
        asked.append((network.count_params(), recipe, images))
        return ["a product is another", "so is a step"]

    monkeypatch.setattr("exactkeras.check.deviations", deviations)
    monkeypatch.setattr("exactkeras.fit.fit", lambda *_, **__: {"loss": [0.5], "accuracy": [0.5]})
    stage_run(prepared)
    assert asked == [(section.build((28, 28), 10).count_params(), section.recipe(settings, (28, 28)), 300)]
    lines = capsys.readouterr().err.splitlines()
    for reason in ("a product is another", "so is a step"):
        assert f"WARNING: this machine may give other bits: {reason}" in lines
    record = json.loads((prepared / "platform.json").read_text())
    assert record["may_differ_in_bits_because"] == ["a product is another", "so is a step"]


def test_a_value_that_is_not_finite_names_its_epoch() -> None:
    require_finite({"loss": [1.0, 0.5]}, section="dense")
    with pytest.raises(
        InputError, match=r"training, loss of epoch 2: expected a finite number\. Got nan\. Lower `dense"
    ):
        require_finite({"loss": [1.0, float("nan")]}, section="dense")


@pytest.mark.usefixtures("tensorflow")
def test_the_core_writes_no_file(prepared: Path, tmp_path: Path) -> None:
    settings, section = read_network(prepared / "params.yaml")
    network, recipe = section.build((28, 28), 10), section.recipe(settings, (28, 28))
    before = network.get_weights()
    dataset = read_dataset(prepared / "data" / "dataset.json")
    splits = [open_split(prepared / "data", name, dataset, may_be_empty=True) for name in ("train", "validation")]
    training, validation = stage.tensors(splits)
    history = stage.train(network, training, validation, recipe, section="dense")
    for start, weights in zip(before, network.get_weights(), strict=True):
        assert (weights != start).any()  # trained in place
    assert {name: len(values) for name, values in history.items()} == {"loss": 1, "accuracy": 1}
    assert outputs(tmp_path) == set()
