"""The stage `evaluate`: every image counted, what it refuses, what it writes."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import numerics
from stages.evaluate import EvaluateParams, evaluate, learning_curves, summarize
from stages.scores import Predictions
from tests.conftest import ROOT, run
from tests.test_train import prepared as prepared  # noqa: PLC0414 (a fixture)

numerics.configure(seed=0)

from stages import network  # noqa: E402 (after the settings)

NAMES = ("scores.json", "history.json", "confusion.csv", "per_class.csv", "first_ten.csv", "worst.png")
PARAMS = EvaluateParams(class_names=None, batch_size=33, worst=7)


@pytest.fixture
def folder(prepared: Path) -> Path:
    """The folder of `prepared`, with an untrained model and a history."""
    network.save(network.dense(features=784, units=16, classes=10), prepared / "model.keras")
    (prepared / "history.csv").write_text("epoch,accuracy,loss\n1,0.5,1.5\n2,0.75,0.5\n")
    return prepared


def test_every_image_is_counted_whatever_the_batch_size(folder: Path) -> None:
    results = []
    for batch_size in (33, 100, 1000):
        out = folder / f"metrics{batch_size}"
        params = PARAMS.model_copy(update={"batch_size": batch_size})
        evaluate(params, folder / "data", folder / "model.keras", folder / "history.csv", out)
        assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
        with (out / "confusion.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 100
        results.append(json.loads((out / "scores.json").read_text()))
    assert results[0]["test"]["accuracy"] == results[1]["test"]["accuracy"] == results[2]["test"]["accuracy"]
    assert (results[0]["test"]["accuracy"] * 100) % 1 == pytest.approx(0)


def test_the_scores_agree_with_keras(folder: Path) -> None:
    evaluate(PARAMS, folder / "data", folder / "model.keras", folder / "history.csv", folder / "metrics")
    import keras

    model = keras.models.load_model(folder / "model.keras")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    features, labels = (np.load(folder / "data" / f"test_{kind}.npy") for kind in ("features", "labels"))
    loss, accuracy = model.evaluate(features, labels, verbose=0)
    scores = json.loads((folder / "metrics" / "scores.json").read_text())
    assert scores["test"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert scores["test"]["loss"] == pytest.approx(loss, abs=1e-4)
    with (folder / "metrics" / "first_ten.csv").open() as file:
        first = list(csv.DictReader(file))
    probabilities = model(features[:10]).numpy()
    assert [int(row["label"]) for row in first] == labels[:10].tolist()
    assert [int(row["predicted"]) for row in first] == probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose([float(row["probability"]) for row in first], probabilities.max(axis=1), atol=1e-5)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_classes_have_their_names_in_every_report(folder: Path) -> None:
    names = [f"the {label}, so called" for label in range(10)]  # a comma must not break a CSV
    for out, class_names in (("by number", None), ("by name", names)):
        params = PARAMS.model_copy(update={"class_names": class_names})
        evaluate(params, folder / "data", folder / "model.keras", folder / "history.csv", folder / out)
    assert [row["label"] for row in rows(folder / "by name" / "per_class.csv")] == names
    for report in ("confusion.csv", "per_class.csv", "first_ten.csv"):
        by_number, by_name = rows(folder / "by number" / report), rows(folder / "by name" / report)
        for row in by_number:
            row.update({key: names[int(row[key])] for key in ("label", "predicted") if key in row})
        assert by_name == by_number
    for report in ("scores.json", "history.json"):
        assert (folder / "by name" / report).read_bytes() == (folder / "by number" / report).read_bytes()
    assert (folder / "by name" / "worst.png").read_bytes() != (folder / "by number" / "worst.png").read_bytes()


def test_the_gap_is_training_minus_test() -> None:
    def predictions(right: int) -> Predictions:
        log_probabilities = np.log(np.array([[0.9, 0.1]] * 4, np.float32))
        return Predictions(log_probabilities, np.array([0] * right + [1] * (4 - right), np.int32))

    scores = summarize({"train": predictions(4), "test": predictions(3)})
    assert list(scores) == ["test", "train", "gap"]
    assert scores["gap"]["accuracy"] == pytest.approx(0.25)
    assert scores["gap"]["loss"] == pytest.approx((np.log(0.9) - np.log(0.1)) / 4, rel=1e-5)


def test_curves_name_the_validation_split_even_without_one() -> None:
    curves = learning_curves([{"epoch": 1, "loss": 2.0, "accuracy": 0.5}])
    assert curves["last_epoch"] == {"loss": 2.0, "accuracy": 0.5}
    assert curves["epochs"] == [{"epoch": 1, "loss": 2.0, "accuracy": 0.5, "val_loss": None, "val_accuracy": None}]


def damage_model(folder: Path) -> None:
    content = (folder / "model.keras").read_bytes()
    (folder / "model.keras").write_bytes(content[: len(content) // 2])


def another_model(folder: Path) -> None:
    network.save(network.dense(features=100, units=4, classes=3), folder / "model.keras")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model": (
        lambda folder: (folder / "model.keras").unlink(),
        "a Keras model from [n, 784] to [n, 10]. Got no such file",
    ),
    "truncated model": (damage_model, "Got a damaged file"),
    "another model": (another_model, "Got one from (None, 100) to (None, 3)"),
    "no history": (
        lambda folder: (folder / "history.csv").unlink(),
        "a CSV with epoch, loss and accuracy. Got no such file",
    ),
    "empty history": (lambda folder: (folder / "history.csv").write_text(""), "Got a file without them"),
    "text in history": (
        lambda folder: (folder / "history.csv").write_text("epoch,loss,accuracy\n1,x,0\n"),
        "Got a damaged file",
    ),
    "binary history": (lambda folder: (folder / "history.csv").write_bytes(b"\xff\x00\xfe"), "Got a damaged file"),
    "a name too few": (
        lambda folder: (folder / "params.yaml").write_text(
            (folder / "params.yaml").read_text().replace(', "9"]', "]"), encoding="utf-8"
        ),
        "parameter 'class_names': expected 10 names, one for each of the labels 0 to 9. Got 9 names.",
    ),
    "a class that only the test set has": (
        lambda folder: np.save(folder / "data" / "test_labels.npy", np.full(100, 10, np.uint8)),
        "test_labels.npy: expected labels from 0 to 9, the classes of the training set. Got 10 at position 0.",
    ),
    "no test set": (lambda folder: (folder / "data" / "test_labels.npy").unlink(), "no such file"),
    "truncated test set": (
        lambda folder: (folder / "data" / "test_features.npy").write_bytes(b"\x93NUMPY"),
        "a damaged or foreign file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_and_the_old_metrics_stay(case: str, folder: Path) -> None:
    damage, message = BAD[case]
    damage(folder)
    (folder / "metrics").mkdir()
    (folder / "metrics" / "scores.json").write_text("the metrics of before")
    names = ("--params", "params.yaml", "--data", "data", "--model", "model.keras", "--history", "history.csv")
    command = (sys.executable, "-m", "stages.evaluate", *names, "--out", "metrics")
    result = run(*command, cwd=folder, env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in (folder / "metrics").iterdir()] == ["scores.json"]
    assert (folder / "metrics" / "scores.json").read_text() == "the metrics of before"
