"""Stage 4, evaluate: score the model on every split, and write metrics, plots and a picture of the worst mistakes."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from digits.data.classes import name_classes
from digits.data.dataset import read_dataset
from digits.data.splits import SPLITS, open_split
from digits.params import read_params
from digits.scoring.history import learning_curves, read_history
from digits.scoring.metrics import Predictions, accuracy, confusion_matrix, loss, per_class, worst
from digits.scoring.picture import as_seen, draw_images, save_png
from digits.scoring.predictions import open_model, predict
from dvcproof.runtime.files import replacing, require_room, write_csv, write_json
from dvcproof.runtime.program import run
from exactkeras.augment import views

OPTIONS = {
    "params": "params.yaml",
    "dataset": "the description of the data set that `load` wrote, .json",
    "data": "folder of the splits that `preprocess` wrote",
    "model": "the model that `train` wrote",
    "history": "the history that `train` wrote",
    "out": "folder for metrics and plots",
}
FILES = ("scores.json", "history.json", "confusion.csv", "per_class.csv", "first_ten.csv", "worst.png")


def scores(predictions: Mapping[str, Predictions]) -> dict[str, dict[str, float]]:
    """Return accuracy and loss of each split, and the gap between training and test, which measures overfitting."""
    found = {name: {"accuracy": accuracy(split), "loss": loss(split)} for name, split in predictions.items()}
    train, test = found["train"], found["test"]
    gap = {"accuracy": train["accuracy"] - test["accuracy"], "loss": test["loss"] - train["loss"]}
    return {"test": found.pop("test"), **found, "gap": gap}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    for name, help_ in OPTIONS.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=help_)
    args = parser.parse_args()
    params = read_params(args.params, "evaluate", "class_names")
    dataset = read_dataset(args.dataset)
    names = name_classes(params.class_names, dataset.classes)
    splits = {name: open_split(args.data, name, dataset, may_be_empty=name == "validation") for name in SPLITS}
    epochs = read_history(args.history)
    require_room(2**20, *(args.out / name for name in FILES))
    model = open_model(args.model, dataset)
    seen = views(dataset.image_shape, params.evaluate.views)
    filled = {name: split for name, split in splits.items() if len(split.labels)}
    predictions = dict(zip(filled, predict(model, [*filled.values()], params.evaluate.batch_size, seen), strict=True))

    test = predictions["test"]
    labels, predicted = ([names[label] for label in values] for values in (test.labels, test.classes))
    by_class = [(names[label], *values) for label, *values in per_class(confusion_matrix(test))]
    probabilities = np.exp(test.log_probabilities[:10].max(axis=1).astype(np.float64)).tolist()
    rows = worst(test, params.evaluate.worst)
    images = as_seen([splits["test"].features.rows(row, row + 1) for row in rows], dataset)
    captions = [f"{labels[row]} read as {predicted[row]}" for row in rows]
    with replacing(*(args.out / name for name in FILES)) as (score_file, curves, confusion, classes, first, picture):
        write_json(score_file, scores(predictions))
        write_json(curves, learning_curves(epochs))
        write_csv(confusion, ["label", "predicted"], zip(labels, predicted, strict=True))
        write_csv(classes, ["label", "precision", "recall", "images"], by_class)
        columns = ["image", "label", "predicted", "probability"]
        write_csv(first, columns, zip(range(10), labels, predicted, probabilities, strict=False))
        save_png(draw_images(images, captions), picture)


if __name__ == "__main__":
    run(main)
