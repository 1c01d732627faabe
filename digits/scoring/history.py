"""The history of a training: read the metrics of each epoch, and convert them to the form that DVC plots."""

from pathlib import Path
from typing import Any

from dvcproof.runtime.bounds import finite
from dvcproof.runtime.files import read_csv
from dvcproof.runtime.program import InputError

Epochs = list[dict[str, float]]


def read_history(path: Path) -> Epochs:
    """Read the metrics that `train` recorded for each epoch. Raise InputError if the file is missing or damaged."""
    try:
        rows = [
            {name: int(value) if name == "epoch" else finite(value) for name, value in row.items()}
            for row in read_csv(path)
        ]
        problem = "there are no rows with epoch, loss and accuracy"
    except FileNotFoundError:
        rows, problem = [], "there is no such file"
    except ValueError as error:
        rows, problem = [], f"the content is not valid ({error})"
    if not rows or not {"epoch", "loss", "accuracy"} <= set(rows[0]):
        raise InputError(str(path), problem, hint="Run `dvc repro` to train again.")
    return rows


def learning_curves(epochs: Epochs) -> dict[str, Any]:
    """Return the history for DVC: the last epoch as metrics, and all epochs as curves.

    Without a validation split, its values are null: DVC then draws no curve, but it needs the names.
    """
    last = {name: value for name, value in epochs[-1].items() if name != "epoch"}
    return {"last_epoch": last, "epochs": [{"val_loss": None, "val_accuracy": None} | epoch for epoch in epochs]}
