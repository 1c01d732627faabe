"""Stage 3, train: features and labels to a model and its history."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digits.common.cli import InputError, on_terminal, run
from digits.common.files import file_hash, replacing, write_csv, write_json
from digits.data.dataset import read_dataset
from digits.data.splits import Split, open_split
from digits.model import determinism
from digits.model.networks import Recipe, read_network

if TYPE_CHECKING:
    import keras

History = Mapping[str, Sequence[float]]


def train(network: "keras.Sequential", training: Split, validation: Split, recipe: Recipe, *, section: str) -> History:
    """Train a network in place. TensorFlow must be configured already.

    Args:
        network: from features to probabilities.
        training: the split to train on.
        validation: the split to measure after each epoch; it may be empty.
        recipe: how.
        section: of params.yaml, which the recipe came from.

    Returns:
        A value per epoch of each metric.

    Raises:
        InputError: the training diverged.
    """
    import tensorflow as tf

    from digits.model.fit import fit, tensor

    sets = [(tensor(split.features.read()), tf.constant(split.labels)) for split in (training, validation)]
    measured = sets[1] if len(validation.labels) else None
    history = fit(network, sets[0], measured, recipe, verbose=1 if on_terminal() else 2)
    require_finite(history, section=section)
    return history


def require_moderate(network: "keras.Sequential", *, section: str) -> None:
    """Refuse a network that `evaluate` would refuse to read, before it is trained.

    Raises:
        InputError: it takes too much for an image.
    """
    from digits.model.description import UnsuitableError, costs_of, require_moderate

    try:
        require_moderate(costs_of(network))
    except UnsuitableError as error:
        raise InputError(
            f"network '{section}'",
            expected="one that takes less, for an image of this size",
            received=str(error),
            hint="Make it narrower in params.yaml, or the images smaller.",
        ) from None


def require_finite(history: History, *, section: str) -> None:
    """Refuse a training that diverged.

    Args:
        history: a value per epoch of each metric.
        section: of params.yaml, which holds the learning rate that was too high.

    Raises:
        InputError: a value is not a finite number.
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument(
        "--dataset", type=Path, required=True, help="the description of the data set that `load` wrote, .json"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--model", type=Path, required=True, help="the model to write, .keras")
    parser.add_argument("--history", type=Path, required=True, help="the values of each epoch to write, .csv")
    parser.add_argument("--platform", type=Path, required=True, help="the record of this machine to write, .json")
    args = parser.parse_args()
    settings, section = read_network(args.params)
    dataset = read_dataset(args.dataset)
    section.require_image_shape(dataset.image_shape)
    training = open_split(args.data, "train", dataset)
    validation = open_split(args.data, "validation", dataset, may_be_empty=True)
    reasons = determinism.configure(seed=settings.seed, device=settings.device)  # imports TensorFlow: seconds

    from digits.model import archive
    from digits.model.check import deviations

    network = section.build(dataset.image_shape, len(dataset.classes))
    require_moderate(network, section=settings.model)
    recipe = section.recipe(settings, dataset.image_shape)
    reasons += deviations(network, recipe, len(training.labels))
    for reason in reasons:
        sys.stderr.write(f"WARNING: this machine may give other bits: {reason}\n")
    history = train(network, training, validation, recipe, section=settings.model)
    with replacing(args.model, args.history, args.platform) as (model_file, history_file, platform_file):
        archive.save(network, model_file)
        write_csv(history_file, ["epoch", *history], zip(range(1, section.epochs + 1), *history.values(), strict=True))
        # It describes the machine and so is no output: equal models come from different machines.
        record = {"model_sha256": file_hash(model_file)} | determinism.platform_record(reasons)
        write_json(platform_file, record)


if __name__ == "__main__":
    run(main, output_is_log=True)
