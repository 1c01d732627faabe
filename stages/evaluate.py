"""Stage 4, evaluate: a model and the splits to metrics, plots and a picture of the worst mistakes."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from digits.data.dataset import Dataset, read_dataset
from digits.data.labels import name_classes
from digits.data.splits import Split, open_split
from digits.params import read_params
from digits.scoring.history import Epochs, learning_curves, read_history
from digits.scoring.metrics import Predictions, accuracy, confusion_matrix, loss, per_class, worst
from digits.scoring.params import EvaluateParams
from digits.scoring.picture import as_seen, draw_images, save_png
from digits.scoring.predictions import predict
from dvcproof.runtime.files import replacing, write_csv, write_json
from dvcproof.runtime.program import run
from exactkeras import determinism
from exactkeras.warp import views


def scores(predictions: Mapping[str, Predictions]) -> dict[str, dict[str, float]]:
    """Accuracy and loss of each split, and the gap between training and test: the overfitting."""
    found = {name: {"accuracy": accuracy(split), "loss": loss(split)} for name, split in predictions.items()}
    train, test = found["train"], found["test"]
    gap = {"accuracy": train["accuracy"] - test["accuracy"], "loss": test["loss"] - train["loss"]}
    return {"test": found.pop("test"), **found, "gap": gap}


def write_reports(
    predictions: Mapping[str, Predictions],
    test: Split,
    epochs: Epochs,
    *,
    dataset: Dataset,
    names: Sequence[str],
    count: int,
    out: Path,
) -> None:
    """Write everything that a reader of the results looks at.

    Args:
        predictions: of each split that has images.
        test: the split `test`.
        epochs: the history.
        dataset: what the images are.
        names: of the classes.
        count: how many of the worst mistakes to draw.
        out: the folder to write into.
    """
    files = ("scores.json", "history.json", "confusion.csv", "per_class.csv", "first_ten.csv", "worst.png")
    on_test = predictions["test"]
    labels, predicted = ([names[label] for label in values] for values in (on_test.labels, on_test.classes))
    by_class = [(names[label], *values) for label, *values in per_class(confusion_matrix(on_test))]
    with replacing(*(out / name for name in files)) as (score_file, curves, confusion, classes, first, picture):
        write_json(score_file, scores(predictions))
        write_json(curves, learning_curves(epochs))
        write_csv(confusion, ["label", "predicted"], zip(labels, predicted, strict=True))
        write_csv(classes, ["label", "precision", "recall", "images"], by_class)
        probabilities = np.exp(on_test.log_probabilities[:10].max(axis=1).astype(np.float64))
        columns = (range(10), labels, predicted, probabilities.tolist())
        write_csv(first, ["image", "label", "predicted", "probability"], zip(*columns, strict=False))
        rows = worst(on_test, count)
        captions = [f"{labels[row]} read as {predicted[row]}" for row in rows]
        images = as_seen([test.features.rows(row, row + 1) for row in rows], dataset)
        save_png(draw_images(images, captions), picture)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument(
        "--dataset", type=Path, required=True, help="the description of the data set that `load` wrote, .json"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--model", type=Path, required=True, help="the model that `train` wrote")
    parser.add_argument("--history", type=Path, required=True, help="the history that `train` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for metrics and plots")
    args = parser.parse_args()
    params = read_params(args.params, "evaluate", EvaluateParams)
    dataset = read_dataset(args.dataset)
    names = name_classes(params.class_names, dataset.classes)
    splits = {
        name: open_split(args.data, name, dataset, may_be_empty=name == "validation")
        for name in ("train", "validation", "test")
    }
    epochs = read_history(args.history)
    determinism.configure(seed=0)

    from exactkeras import archive

    model = archive.load(args.model, features=math.prod(dataset.image_shape), classes=len(dataset.classes))
    seen = views(dataset.image_shape, params.views)
    filled = {name: split for name, split in splits.items() if len(split.labels)}
    predictions = dict(zip(filled, predict(model, [*filled.values()], params.batch_size, seen), strict=True))
    write_reports(
        predictions,
        splits["test"],
        epochs,
        dataset=dataset,
        names=names,
        count=params.worst,
        out=args.out,
    )


if __name__ == "__main__":
    run(main)
