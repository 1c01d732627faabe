"""Stage 3, train: features and labels to a model and its history."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digits.common.cli import InputError, on_terminal, run
from digits.common.files import file_hash, replacing, write_csv, write_json
from digits.data.dataset import Dataset, read_dataset
from digits.data.splits import Split, open_split
from digits.model import determinism
from digits.model.networks import Network, Train, read_network

if TYPE_CHECKING:
    import keras

History = Mapping[str, Sequence[float]]


def train(
    dataset: Dataset, training: Split, validation: Split, settings: Train, section: Network
) -> tuple["keras.Sequential", History]:
    """Train a new network. TensorFlow must be configured already.

    Args:
        dataset: what the splits are cut from.
        training: the split to train on.
        validation: the split to measure after each epoch; it may be empty.
        settings: the section `train` of params.yaml.
        section: the section of the network.

    Returns:
        The trained network, and a value per epoch of each metric.

    Raises:
        InputError: the training diverged.
    """
    import tensorflow as tf

    from digits.model.fit import fit, tensor

    network = section.build(dataset.image_shape, len(dataset.classes))
    sets = [(tensor(split.features.read()), tf.constant(split.labels)) for split in (training, validation)]
    history = fit(
        network,
        sets[0],
        sets[1] if len(validation.labels) else None,
        section.recipe(settings),
        verbose=1 if on_terminal() else 2,
    )
    require_finite(history, section=settings.model)
    return network, history


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
    training = open_split(args.data, "train", dataset)
    validation = open_split(args.data, "validation", dataset, may_be_empty=True)
    deviations = determinism.configure(seed=settings.seed, device=settings.device)  # imports TensorFlow: seconds
    network, history = train(dataset, training, validation, settings, section)

    from digits.model import archive

    with replacing(args.model, args.history, args.platform) as (model_file, history_file, platform_file):
        archive.save(network, model_file)
        write_csv(history_file, ["epoch", *history], zip(range(1, section.epochs + 1), *history.values(), strict=True))
        # It describes the machine and so is no output: equal models come from different machines.
        record = {"model_sha256": file_hash(model_file)} | determinism.platform_record(deviations)
        write_json(platform_file, record)


if __name__ == "__main__":
    run(main)
