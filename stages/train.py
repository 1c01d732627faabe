"""Stage 3, train: features and labels to a model and its history."""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digits import networks
from digits.data.dataset import read_dataset
from digits.data.splits import Split, open_split
from digits.networks import read_network
from dvcproof.runtime.files import file_hash, replacing, write_csv, write_json
from dvcproof.runtime.program import InputError, on_terminal, run
from exactkeras import determinism
from exactkeras.cluster import read_cluster, require_enough_shards
from exactkeras.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from exactkeras.batches import Data
    from exactkeras.checkpoint import Checkpoint
    from exactkeras.replicas import Replicas

History = Mapping[str, Sequence[float]]


def tensors(splits: Sequence[Split], processes: int = 1) -> "list[Data]":
    """Features and labels of each split.

    Args:
        splits: to train and to measure on.
        processes: on this machine that hold as much.
    """
    import tensorflow as tf

    from exactkeras.batches import features_of

    held = features_of([split.features for split in splits], processes)
    return [(features, tf.constant(split.labels)) for features, split in zip(held, splits, strict=True)]


def train(
    network: "keras.Sequential",
    training: "Data",
    validation: "Data",
    recipe: Recipe,
    *,
    section: str,
    checkpoint: "Checkpoint | None" = None,
    replicas: "Replicas | None" = None,
) -> History:
    """Train a network in place. TensorFlow must be configured already.

    Args:
        network: from features to probabilities.
        training: the split to train on.
        validation: the split to measure after each epoch; it may be empty.
        recipe: how.
        section: of params.yaml, which the recipe came from.
        checkpoint: to go on from, and to write after each epoch.
        replicas: the workers that train together. Only the first of them measures, speaks, and has a checkpoint.

    Returns:
        A value per epoch of each metric.

    Raises:
        InputError: the training diverged.
    """
    from exactkeras.fit import fit

    first = replicas is None or replicas.worker == 0
    measured = validation if first and len(validation[1]) else None
    verbose = (1 if on_terminal() else 2) if first else 0
    own = checkpoint if first else None
    history = fit(network, training, measured, recipe, verbose=verbose, checkpoint=own, replicas=replicas)
    require_finite(history, section=section)
    return history


def require_moderate(network: "keras.Sequential", *, section: str) -> None:
    """Refuse a network that `evaluate` would refuse to read, before it is trained.

    Raises:
        InputError: it takes too much for an image.
    """
    from exactkeras.description import UnsuitableError, costs_of, require_moderate

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
    cluster = read_cluster(os.environ)
    if cluster is not None:
        require_enough_shards(cluster, settings.shards)
    dataset = read_dataset(args.dataset)
    section.require_image_shape(dataset.image_shape)
    splits = open_split(args.data, "train", dataset), open_split(args.data, "validation", dataset, may_be_empty=True)
    reasons = determinism.configure(seed=settings.seed, device=settings.device)  # imports TensorFlow: seconds

    from exactkeras.check import deviations
    from exactkeras.checkpoint import Checkpoint, fingerprint
    from exactkeras.replicas import together

    with together(cluster, settings.shards) as replicas:
        network = section.build(dataset.image_shape, len(dataset.classes))
        require_moderate(network, section=settings.model)
        recipe = section.recipe(settings, dataset.image_shape)
        reasons += deviations(network, recipe, len(splits[0].labels))
        for reason in reasons:
            sys.stderr.write(f"WARNING: this machine may give other bits: {reason}\n")
        training, validation = tensors(splits, cluster.neighbours if cluster else 1)
        library = Path(networks.__file__).parent
        code = sorted([*library.glob("*.py"), *(library / "data").glob("*.py")])
        decided = [settings.model_dump(), section.model_dump(), dataset.image_shape, len(dataset.classes)]
        belongs_to = fingerprint(decided, [Path(__file__), *code], [*training, *validation])
        checkpoint = Checkpoint(args.model.with_name(f".{args.model.name}.checkpoint"), belongs_to)
        if replicas:
            replicas.require_same(belongs_to)
            reasons += replicas.deviating(reasons)
        history = train(
            network, training, validation, recipe, section=settings.model, checkpoint=checkpoint, replicas=replicas
        )
        if replicas is None or replicas.worker == 0:
            write(args, network, history, reasons)
            checkpoint.remove()
        if replicas:
            replicas.gather(0)  # nobody leaves before the results are written


def write(args: argparse.Namespace, network: "keras.Sequential", history: History, reasons: Sequence[str]) -> None:
    """Write model, history, and the record of this machine: why its bits may differ."""
    from exactkeras import archive

    with replacing(args.model, args.history, args.platform) as (model_file, history_file, platform_file):
        archive.save(network, model_file)
        epochs = range(1, len(history["loss"]) + 1)
        write_csv(history_file, ["epoch", *history], zip(epochs, *history.values(), strict=True))
        # It describes the machine and so is no output: equal models come from different machines.
        record = {"model_sha256": file_hash(model_file)} | determinism.platform_record(list(reasons))
        write_json(platform_file, record)


if __name__ == "__main__":
    run(main, output_is_log=True)
