"""Stage 3, train: features and labels to a model and its history."""

import argparse
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages import numerics
from stages.arrays import replacing
from stages.console import InputError, on_terminal, run
from stages.params import Params, read_params
from stages.splits import open_split
from stages.tables import write_csv, write_json


class TrainParams(Params):
    """The section `train` of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    units: int = Field(ge=1, le=65536)
    optimizer: Literal["rmsprop", "adam", "sgd"]
    learning_rate: float = Field(gt=0, le=10)
    epochs: int = Field(ge=1, le=10000)
    batch_size: int = Field(ge=1, le=65536)
    shards: int = Field(ge=1, le=64)
    device: Literal["cpu", "gpu"]


def require_finite(history: Mapping[str, Sequence[float]]) -> None:
    """Refuse a training that diverged.

    Raises:
        InputError: a value of the history is not a finite number.
    """
    for name, values in history.items():
        for epoch, value in enumerate(values, start=1):
            if not math.isfinite(value):
                raise InputError(
                    f"training, {name} of epoch {epoch}",
                    expected="a finite number",
                    received=str(value),
                    hint="Lower `train.learning_rate`.",
                )


def train(params: TrainParams, data: Path, model: Path, history: Path, platform: Path) -> None:
    """Train on the split `train` in the folder `data`, and write model, history and platform.

    The platform record stays out of what DVC compares: equal models come from different machines.

    Raises:
        InputError: a split is missing, damaged or out of range, or the training diverged.
    """
    training = open_split(data, "train")
    validation = open_split(data, "validation", classes=training.classes, may_be_empty=True)
    deviations = numerics.configure(seed=params.seed, device=params.device)
    # TensorFlow is imported from here on: seconds that a wrong parameter need not wait for.
    import tensorflow as tf

    from stages import network
    from stages import training as trainer

    digits = network.dense(features=784, units=params.units, classes=training.classes)
    values = trainer.train(
        digits,
        (trainer.tensor(training.features.read()), tf.constant(training.labels)),
        (trainer.tensor(validation.features.read()), tf.constant(validation.labels))
        if len(validation.labels)
        else None,
        **params.model_dump(include={"optimizer", "learning_rate", "epochs", "batch_size", "shards", "seed"}),
        verbose=1 if on_terminal() else 2,
    )
    require_finite(values)
    with replacing(model, history, platform) as (model_file, history_file, platform_file):
        network.save(digits, model_file)
        write_csv(history_file, ["epoch", *values], zip(range(1, params.epochs + 1), *values.values(), strict=True))
        record = numerics.platform_record(deviations)
        write_json(platform_file, {"model_sha256": hashlib.sha256(model_file.read_bytes()).hexdigest()} | record)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--model", type=Path, required=True, help="the model to write, .keras")
    parser.add_argument("--history", type=Path, required=True, help="the values of each epoch to write, .csv")
    parser.add_argument("--platform", type=Path, required=True, help="the record of this machine to write, .json")
    args = parser.parse_args()
    train(read_params(args.params, "train", TrainParams), args.data, args.model, args.history, args.platform)


if __name__ == "__main__":
    run(main)
