"""Data sets unlike MNIST, from load to export: other sizes, colours, labels and networks.

The pipeline is run on each data set as DVC runs it, and its report, card and export are made.
"""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from digits.apps.card import write_card
from digits.apps.export import export
from digits.apps.report import gather, render
from digits.data.dataset import read_dataset
from dvcproof.runtime.files import read_csv
from dvcproof.values import set_params
from stages import load, preprocess, train
from tests.support.card import SOURCES
from tests.support.pipeline import run_pipeline
from tests.support.project import ROOT, Arrays, commit, make_project, recipe_params
from tests.support.refusal import refusal

pytestmark = pytest.mark.usefixtures("tensorflow")

Images = NDArray[np.uint8]
DATASET, DATA = Path("data/raw/dataset.json"), Path("data/prepared")


def small_digits(*, side: int, classes: tuple[int, ...]) -> Arrays:
    """Return MNIST's images of some classes, dark on light, at another size, with their original labels."""
    sets: Arrays = {}
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        for name, count in (("train", 600), ("test", 150)):
            chosen = np.flatnonzero(np.isin(mnist[f"y_{name}"], classes))[:count]
            images = [Image.fromarray(image).resize((side, side)) for image in 255 - mnist[f"x_{name}"][chosen]]
            sets[f"x_{name}"], sets[f"y_{name}"] = np.stack([*map(np.asarray, images)]), mnist[f"y_{name}"][chosen]
    return sets


def coloured(*, side: int) -> Arrays:
    """Return images of bright discs in red, green or blue, at random places on random backgrounds; labels from 1."""
    random = np.random.default_rng(0)
    sets: Arrays = {}
    y, x = np.mgrid[:side, :side]
    for name, count in (("train", 300), ("test", 90)):
        labels = np.arange(count) % 3
        images = np.empty((count, side, side, 3), np.uint8)
        images[:] = random.integers(0, 200, (count, 1, 1, 1)) + random.integers(0, 30, (count, side, side, 3))
        for image, label in zip(images, labels, strict=True):
            row, column = random.integers(8, side - 8, 2)
            image[(y - row) ** 2 + (x - column) ** 2 < 50, label] = 255
        sets |= {f"x_{name}": images, f"y_{name}": (labels + 1).astype(np.uint8)}
    return sets


class Case(NamedTuple):
    """A data set, the parameters to train with, and the expected description and accuracy."""

    arrays: Arrays
    params: dict[str, Any]
    image_shape: tuple[int, ...]
    names: list[str]
    ink: str | None
    accuracy: float  # the least test accuracy


CASES = {
    "8 x 8, dark, 3 and 7": lambda: Case(
        small_digits(side=8, classes=(3, 7)),
        {"dense.units": 16, "dense.epochs": 3} | {"dense.batch_size": 16, "dense.learning_rate": 0.01},
        (8, 8),
        ["3", "7"],
        "dark",
        0.9,
    ),
    "32 x 32, RGB": lambda: Case(
        coloured(side=32),
        {"train.model": "convnet", "convnet.filters": 4, "convnet.epochs": 3, "convnet.batch_size": 20},
        (32, 32, 3),
        ["1", "2", "3"],
        None,
        0.8,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_set_goes_through_every_stage_and_program(tmp_path: Path, name: str) -> None:
    case = CASES[name]()
    project = make_project(tmp_path / "project", case.arrays)
    validation = {"preprocess.validation_size": 30, "class_names": None, "evaluate.worst": 3}
    set_params(project / "params.yaml", case.params | validation)
    (project / SOURCES.seeds).parent.mkdir(parents=True)
    shutil.copy(ROOT / SOURCES.seeds, project / SOURCES.seeds)  # a study with other parameters
    run_pipeline(project)
    commit(project, "a run")
    with contextlib.chdir(project):
        dataset = read_dataset(DATASET)
        assert (dataset.image_shape, dataset.classes, dataset.ink) == (case.image_shape, case.names, case.ink)
        images = np.load("data/raw/test_images.npy")
        assert np.array_equal(images, 255 - case.arrays["x_test"] if case.ink else case.arrays["x_test"])
        assert np.load(DATA / "train_features.npy", mmap_mode="r").shape[1] == np.prod(case.image_shape)
        assert json.loads(Path("metrics/scores.json").read_text())["test"]["accuracy"] >= case.accuracy
        assert [row["label"] for row in read_csv(Path("metrics/per_class.csv"))] == case.names
        with Image.open("metrics/worst.png") as picture:
            assert picture.mode == ("L" if case.ink else "RGB")
        check_programs(case)


def check_programs(case: Case) -> None:
    """Check the report, the card and the export of the project in the working folder."""
    values = int(np.prod(case.image_shape))
    report = gather(SOURCES)
    assert "data:image/png" in render(report) or not (report.predictions.classes != report.predictions.labels).any()
    card = write_card(SOURCES)
    assert f"images, {case.image_shape[0]} x {case.image_shape[1]} pixels" in card
    assert f"float32 [n, {values}]" in card
    checks = export(SOURCES, Path("export"))
    assert [check.changed for check in checks.values()] == [0, 0]
    model = onnxruntime.InferenceSession("export/model.onnx", providers=["CPUExecutionProvider"])
    (found,) = model.run(["probabilities"], {"features": np.zeros((2, values), np.float32)})
    assert found.shape == (2, len(case.names))


# Images that a network cannot use


def prepared(folder: Path, arrays: Arrays, **sections: dict[str, object]) -> list[str]:
    """Prepare a data set in a folder, and return the options of `train` for it."""
    np.savez(folder / "set.npz", **arrays)  # type: ignore[arg-type]
    load.load(str(folder / "set.npz"), folder)
    preprocess.preprocess(0, folder, folder)
    params = recipe_params(folder, **sections)
    files = {"model": "m.keras", "history": "h.csv", "platform": "p.json"}
    outs = [text for name, file in files.items() for text in (f"--{name}", str(folder / file))]
    return ["--params", str(params), "--dataset", str(folder / "dataset.json"), "--data", str(folder), *outs]


def test_images_too_small_for_the_convnet_are_refused(tmp_path: Path) -> None:
    """The next step that the error message names works."""
    line = "expected images of at least 13 x 13 pixels. Got 12 x 12 pixels. Set `train.model` to dense"
    options = prepared(tmp_path, small_digits(side=12, classes=(0, 1)), train={"model": "convnet"})
    with mock.patch("exactkeras.determinism.configure", side_effect=AssertionError("TensorFlow was started")):
        assert line in refusal(train.main, *options)
    assert not list(tmp_path.glob("*.keras"))
    set_params(tmp_path / "params.yaml", {"train.model": "dense", "dense.epochs": 1})
    with mock.patch.object(sys, "argv", ["train", *options]):
        train.main()
    assert (tmp_path / "m.keras").is_file()


def test_a_network_beyond_the_bounds_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate` would refuse to read the model of such a network."""
    from exactkeras import costs

    arrays = small_digits(side=16, classes=(0, 1))
    options = prepared(tmp_path, arrays, train={"model": "convnet"}, convnet={"filters": 4})
    monkeypatch.setattr(costs, "MOST_VALUES", 1000)
    line = refusal(train.main, *options)
    assert "network 'digits': an image takes " in line
    assert not list(tmp_path.glob("*.keras"))
