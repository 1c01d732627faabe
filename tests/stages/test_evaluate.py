"""The stage `evaluate`: every image is counted, names are shown, bad input is refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from digits.scoring.metrics import Predictions
from dvcproof.runtime.files import read_csv
from dvcproof.values import set_params
from stages import evaluate as stage
from tests.support.arrays import write_prepared
from tests.support.networks import dense
from tests.support.project import Arrays, recipe_params
from tests.support.refusal import refusal

pytestmark = pytest.mark.usefixtures("tensorflow")


def save_model(folder: Path, *, image_shape: tuple[int, int] = (28, 28), classes: int = 10) -> None:
    """Save an untrained network as `model.keras`."""
    import keras

    from exactkeras import archive

    keras.utils.set_random_seed(0)
    archive.save(dense().build(image_shape, classes), folder / "model.keras")


@pytest.fixture
def folder(tmp_path: Path, digits: Arrays) -> Path:
    """Return a folder with params.yaml, the splits of the small sample, an untrained model and a history."""
    params = recipe_params(tmp_path, evaluate={"batch_size": 33, "worst": 7})
    set_params(params, {"class_names": None})
    write_prepared(tmp_path / "data", digits)
    save_model(tmp_path)
    (tmp_path / "history.csv").write_text("epoch,accuracy,loss\n1,0.5,1.5\n2,0.75,0.5\n")
    return tmp_path


def options(folder: Path, out: str = "metrics") -> list[str]:
    files = {"params": "params.yaml", "dataset": "data/dataset.json", "data": "data", "model": "model.keras"}
    files |= {"history": "history.csv", "out": out}
    return [word for name, file in files.items() for word in (f"--{name}", str(folder / file))]


def evaluate(folder: Path, out: str = "metrics", **params: Any) -> Path:
    """Run the stage in this process with other parameters, and return its output folder."""
    set_params(folder / "params.yaml", {name.replace("__", "."): value for name, value in params.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate", *options(folder, out)])
        stage.main()
    return folder / out


def test_every_image_counts_whatever_the_batch_size(folder: Path) -> None:
    """Accuracy, loss and the first ten predictions equal those of Keras."""
    results = []
    for batch_size in (33, 100, 1000):
        out = evaluate(folder, f"metrics{batch_size}", evaluate__batch_size=batch_size)
        assert sorted(path.name for path in out.iterdir()) == sorted(stage.FILES)
        assert len(read_csv(out / "confusion.csv")) == 100
        results.append((out / "scores.json").read_text())
    assert results[0] == results[1] == results[2]
    scores = json.loads(results[0])
    import keras

    model = keras.models.load_model(folder / "model.keras")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    features, labels = (np.load(folder / "data" / f"test_{kind}.npy") for kind in ("features", "labels"))
    loss, accuracy = model.evaluate(features, labels, verbose=0)
    assert scores["test"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert scores["test"]["loss"] == pytest.approx(loss, abs=1e-4)
    first = read_csv(out / "first_ten.csv")
    probabilities = model(features[:10]).numpy()
    assert [int(row["label"]) for row in first] == labels[:10].tolist()
    assert [int(row["predicted"]) for row in first] == probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose([float(row["probability"]) for row in first], probabilities.max(axis=1), atol=1e-5)


def test_the_classes_have_their_names_in_every_report(folder: Path) -> None:
    names = [f"the {label}, so called" for label in range(10)]  # a comma must not break a CSV
    number, name = evaluate(folder, "by number", class_names=None), evaluate(folder, "by name", class_names=names)
    assert [row["label"] for row in read_csv(name / "per_class.csv")] == names
    for report in ("confusion.csv", "per_class.csv", "first_ten.csv"):
        by_number, by_name = read_csv(number / report), read_csv(name / report)
        for row in by_number:
            row.update({key: names[int(row[key])] for key in ("label", "predicted") if key in row})
        assert by_name == by_number
    for report in ("scores.json", "history.json"):
        assert (name / report).read_bytes() == (number / report).read_bytes()
    assert (name / "worst.png").read_bytes() != (number / "worst.png").read_bytes()


def test_a_validation_split_and_the_data_sets_own_names_are_used(folder: Path) -> None:
    facts = json.loads((folder / "data" / "dataset.json").read_text())
    facts["classes"] = [f"class {label}" for label in range(10)]
    (folder / "data" / "dataset.json").write_text(json.dumps(facts))
    for kind in ("features", "labels"):
        np.save(folder / "data" / f"validation_{kind}.npy", np.load(folder / "data" / f"test_{kind}.npy")[:50])
    metrics = evaluate(folder)
    assert [row["label"] for row in read_csv(metrics / "per_class.csv")] == facts["classes"]
    assert list(json.loads((metrics / "scores.json").read_text())) == ["test", "train", "validation", "gap"]


def test_the_gap_is_training_minus_test() -> None:
    def predictions(right: int) -> Predictions:
        log_probabilities = np.log(np.array([[0.9, 0.1]] * 4, np.float32))
        return Predictions(log_probabilities, np.array([0] * right + [1] * (4 - right), np.int32))

    scores = stage.scores({"train": predictions(4), "test": predictions(3)})
    assert list(scores) == ["test", "train", "gap"]
    assert scores["gap"]["accuracy"] == pytest.approx(0.25)
    assert scores["gap"]["loss"] == pytest.approx((np.log(0.9) - np.log(0.1)) / 4, rel=1e-5)


def damage_model(folder: Path) -> None:
    content = (folder / "model.keras").read_bytes()
    (folder / "model.keras").write_bytes(content[: len(content) // 2])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated model": (damage_model, "model.keras: "),
    "no description": (lambda folder: (folder / "data" / "dataset.json").unlink(), "dataset.json: "),
    "no history": (lambda folder: (folder / "history.csv").unlink(), "history.csv: there is no such file"),
    "a name too few": (
        lambda folder: set_params(folder / "params.yaml", {"class_names": list("012345678")}),
        "parameter 'class_names': ",
    ),
    "another model": (lambda folder: save_model(folder, image_shape=(10, 10), classes=3), "model.keras: "),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    assert message in refusal(stage.main, *options(folder))
    assert list(folder.glob("metrics/*")) == []


def test_an_output_that_cannot_be_written_is_said_before_the_predictions(folder: Path) -> None:
    (folder / "metrics" / "worst.png").mkdir(parents=True)
    with mock.patch.object(stage, "predict", side_effect=AssertionError):
        assert "worst.png: expected a file" in refusal(stage.main, *options(folder))


@pytest.mark.slow
def test_the_scores_are_of_as_many_views_as_the_parameters_say(folder: Path) -> None:
    found = {
        views: json.loads((evaluate(folder, f"metrics{views}", evaluate__views=views) / "scores.json").read_text())
        for views in (1, 2, 11)
    }
    assert len({one["test"]["loss"] for one in found.values()}) == 3
