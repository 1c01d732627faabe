"""Stage 3, train: features and labels to a model and its history."""

import argparse
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from stages import numerics
from stages.arrays import replacing
from stages.console import InputError, on_terminal, run
from stages.params import Params, read_params
from stages.splits import open_split
from stages.tables import write_csv, write_json

if TYPE_CHECKING:
    import keras


class Recipe(Params):
    """How a network is trained."""

    optimizer: Literal["rmsprop", "adam", "sgd"]
    learning_rate: float = Field(gt=0, le=10)
    epochs: int = Field(ge=1, le=10000)
    batch_size: int = Field(ge=1, le=65536)


class TrainParams(Recipe):
    """The section `train` of params.yaml: what both networks share, and the dense network with its recipe."""

    model: Literal["dense", "convnet"]
    seed: int = Field(ge=0, lt=2**32)
    shards: int = Field(ge=1, le=64)
    device: Literal["cpu", "gpu"]
    units: int = Field(ge=1, le=65536)


class ConvnetParams(Recipe):
    """The section `convnet` of params.yaml: the convolutional network with its recipe."""

    filters: int = Field(ge=1, le=1024)
    rise: float = Field(ge=0, le=1)
    shift: float = Field(ge=0, le=14)
    distortion: float = Field(ge=0, le=0.5)


class Settings(NamedTuple):
    """All that params.yaml says of the training."""

    train: TrainParams
    convnet: ConvnetParams


def read_settings(path: Path) -> Settings:
    """Read both sections of params.yaml.

    Raises:
        InputError: as `read_params` does.
    """
    return Settings(read_params(path, "train", TrainParams), read_params(path, "convnet", ConvnetParams))


def build(settings: Settings, classes: int) -> "tuple[keras.Sequential, dict[str, Any]]":
    """The network that `train.model` names, and how `training.train` shall train it."""
    from stages import network
    from stages.augmentation import Warp

    params, convnet = settings
    shared, recipe = params.model_dump(include={"seed", "shards"}), set(Recipe.model_fields)
    if params.model == "dense":
        how = shared | params.model_dump(include=recipe)
        return network.dense(features=784, units=params.units, classes=classes), how
    warp = Warp(convnet.shift, convnet.distortion)
    how = shared | convnet.model_dump(include=recipe | {"rise"}) | {"warp": warp}
    return network.convnet(filters=convnet.filters, classes=classes), how


def require_finite(history: Mapping[str, Sequence[float]], *, section: str) -> None:
    """Refuse a training that diverged.

    Args:
        history: the values of each epoch, by name.
        section: of params.yaml, which holds the rate that was too high.

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
                    hint=f"Lower `{section}.learning_rate`.",
                )


def train(settings: Settings, data: Path, model: Path, history: Path, platform: Path) -> None:
    """Train on the split `train` in the folder `data`, and write model, history and platform.

    The platform record stays out of what DVC compares: equal models come from different machines.

    Raises:
        InputError: a split is missing, damaged or out of range, or the training diverged.
    """
    training = open_split(data, "train")
    validation = open_split(data, "validation", classes=training.classes, may_be_empty=True)
    deviations = numerics.configure(seed=settings.train.seed, device=settings.train.device)
    # TensorFlow is imported from here on: seconds that a wrong parameter need not wait for.
    import tensorflow as tf

    from stages import network
    from stages import training as trainer

    digits, how = build(settings, training.classes)
    values = trainer.train(
        digits,
        (trainer.tensor(training.features.read()), tf.constant(training.labels)),
        (trainer.tensor(validation.features.read()), tf.constant(validation.labels))
        if len(validation.labels)
        else None,
        **how,
        verbose=1 if on_terminal() else 2,
    )
    require_finite(values, section="convnet" if settings.train.model == "convnet" else "train")
    with replacing(model, history, platform) as (model_file, history_file, platform_file):
        network.save(digits, model_file)
        write_csv(history_file, ["epoch", *values], zip(range(1, how["epochs"] + 1), *values.values(), strict=True))
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
    train(read_settings(args.params), args.data, args.model, args.history, args.platform)


if __name__ == "__main__":
    run(main)
