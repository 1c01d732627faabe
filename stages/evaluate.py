"""Stage 4, evaluate: a model and the splits to metrics, plots and a picture of the worst mistakes."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages import numerics
from stages.arrays import replacing
from stages.classes import ClassNames, name_classes
from stages.console import InputError, run
from stages.params import Params, read_params
from stages.picture import draw_digits, save_png
from stages.scores import Predictions, accuracy, confusion_matrix, loss, per_class, worst
from stages.splits import Split, open_split
from stages.tables import read_csv, write_csv, write_json

if TYPE_CHECKING:
    import keras

Epochs = list[dict[str, float]]


class EvaluateParams(Params):
    """The section `evaluate` of params.yaml, and the shared value `class_names`."""

    class_names: ClassNames
    batch_size: int = Field(ge=1, le=10**6)
    worst: int = Field(ge=1, le=100)


def predict(model: "keras.Sequential", split: Split, batch_size: int) -> Predictions:
    """Log-probabilities of every image of a split, the last, shorter batch included."""
    import tensorflow as tf

    from stages.network import without_softmax

    logits = without_softmax(model)
    log_probabilities = tf.function(lambda features: tf.nn.log_softmax(logits(features)), reduce_retracing=True)
    count = len(split.features)

    def predict_batch(start: int) -> NDArray[np.float32]:
        return log_probabilities(split.features.rows(start, min(start + batch_size, count))).numpy()

    with ThreadPoolExecutor(numerics.cores()) as pool:  # one batch a core: who computes it changes no bit
        parts = list(pool.map(predict_batch, range(0, count, batch_size)))
    return Predictions(np.concatenate(parts), split.labels)


def summarize(predictions: dict[str, Predictions]) -> dict[str, dict[str, float]]:
    """Accuracy and loss of each split, and the gap between training and test: the overfitting."""
    scores = {name: {"accuracy": accuracy(split), "loss": loss(split)} for name, split in predictions.items()}
    train, test = scores["train"], scores["test"]
    gap = {"accuracy": train["accuracy"] - test["accuracy"], "loss": test["loss"] - train["loss"]}
    return {"test": scores.pop("test"), **scores, "gap": gap}


def write_reports(
    predictions: dict[str, Predictions], test: Split, epochs: Epochs, *, class_names: list[str], count: int, out: Path
) -> None:
    """Write everything that a reader of the results looks at into the folder `out`."""
    files = ("scores.json", "history.json", "confusion.csv", "per_class.csv", "first_ten.csv", "worst.png")
    on_test = predictions["test"]
    labels, predicted = ([class_names[label] for label in values] for values in (on_test.labels, on_test.classes))
    by_class = [(class_names[label], *values) for label, *values in per_class(confusion_matrix(on_test))]
    with replacing(*(out / name for name in files)) as (scores, curves, confusion, classes, first, picture):
        write_json(scores, summarize(predictions))
        write_json(curves, learning_curves(epochs))
        write_csv(confusion, ["label", "predicted"], zip(labels, predicted, strict=True))
        write_csv(classes, ["label", "precision", "recall", "images"], by_class)
        probabilities = np.exp(on_test.log_probabilities[:10].max(axis=1).astype(np.float64))
        columns = (range(10), labels, predicted, probabilities.tolist())
        write_csv(first, ["image", "label", "predicted", "probability"], zip(*columns, strict=False))
        rows = worst(on_test, count)
        captions = [f"{labels[row]} read as {predicted[row]}" for row in rows]
        pixels = [np.rint(test.features.rows(row, row + 1) * 255).astype(np.uint8) for row in rows]
        save_png(draw_digits(np.reshape(pixels, (len(rows), 28, 28)), captions), picture)


def evaluate(params: EvaluateParams, data: Path, model_file: Path, history: Path, out: Path) -> None:
    """Evaluate a model on every split in the folder `data`, and write the reports into the folder `out`.

    Raises:
        InputError: the model, the history or a split is missing, damaged or of another form, or `class_names` are more
            or fewer than the classes.
    """
    training = open_split(data, "train")
    validation = open_split(data, "validation", classes=training.classes, may_be_empty=True)
    splits = {"train": training, "validation": validation, "test": open_split(data, "test", classes=training.classes)}
    class_names = name_classes(params.class_names, training.classes)
    epochs = read_history(history)
    numerics.configure(seed=0)
    from stages import network

    model = network.load(model_file, classes=training.classes)
    predictions = {
        name: predict(model, split, params.batch_size) for name, split in splits.items() if len(split.labels)
    }
    write_reports(predictions, splits["test"], epochs, class_names=class_names, count=params.worst, out=out)


def read_history(path: Path) -> Epochs:
    """Read what `train` recorded of each epoch.

    Raises:
        InputError: the file is missing, or has no rows with epoch, loss and accuracy.
    """
    try:
        rows = [
            {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
            for row in read_csv(path)
        ]
        received = "a file without them"
    except FileNotFoundError:
        rows, received = [], "no such file"
    except (ValueError, TypeError) as error:
        rows, received = [], f"a damaged file ({error})"
    if not rows or not {"epoch", "loss", "accuracy"} <= set(rows[0]):
        raise InputError(
            str(path),
            expected="a CSV with epoch, loss and accuracy",
            received=received,
            hint="Run `dvc repro` to train again.",
        )
    return rows


def learning_curves(epochs: Epochs) -> dict[str, Any]:
    """What DVC shows of the history: the last epoch as metrics, all of them as curves.

    Without a validation split its values are null: DVC draws no curve for them, but it wants the names.
    """
    last = {name: value for name, value in epochs[-1].items() if name != "epoch"}
    return {"last_epoch": last, "epochs": [{"val_loss": None, "val_accuracy": None} | epoch for epoch in epochs]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--model", type=Path, required=True, help="the model that `train` wrote")
    parser.add_argument("--history", type=Path, required=True, help="the history that `train` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for metrics and plots")
    args = parser.parse_args()
    evaluate(read_params(args.params, "evaluate", EvaluateParams), args.data, args.model, args.history, args.out)


if __name__ == "__main__":
    run(main)
