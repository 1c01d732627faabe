"""Stage 3, train: train a model on features and labels, and write the model and its history."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digits import data, networks
from digits.data.dataset import read_dataset
from digits.data.splits import open_split
from dvcproof.runtime.files import file_hash, replacing, require_room, write_csv, write_json
from dvcproof.runtime.program import on_terminal, run
from exactkeras import determinism, memory
from exactkeras.tf_config import read_cluster, require_enough_shards

if TYPE_CHECKING:
    import keras


def main() -> None:
    args = parse_arguments()
    settings, section = networks.read_network(args.params)
    cluster = read_cluster(os.environ)
    if cluster:
        require_enough_shards(cluster, settings.shards)
    dataset = read_dataset(args.dataset)
    section.require_image_shape(dataset.image_shape)
    splits = open_split(args.data, "train", dataset), open_split(args.data, "validation", dataset, may_be_empty=True)
    arrays = memory.read_ahead([split.features for split in splits], cluster.neighbours if cluster else 1)
    reasons = determinism.configure(seed=settings.seed, device=settings.device)  # imports TensorFlow: seconds

    from exactkeras.batches import data_of
    from exactkeras.checkpoint import Checkpoint, fingerprint
    from exactkeras.costs import require_moderate
    from exactkeras.fit import fit
    from exactkeras.probe import deviations
    from exactkeras.replicas import together

    with together(cluster, settings.shards) as replicas:
        network = section.build(dataset.image_shape, len(dataset.classes))
        require_moderate(network)  # `evaluate` would refuse the file of a larger network
        if replicas is None or replicas.worker == 0:
            # Each weight has four bytes, and `save` writes all weights twice.
            require_room(8 * network.count_params(), args.model, args.history, args.platform)
        recipe = section.recipe(settings, dataset.image_shape)
        reasons += deviations(network, recipe, len(splits[0].labels))
        for reason in reasons:
            sys.stderr.write(f"WARNING: this machine may give other bits: {reason}\n")
        training, validation = data_of(splits, arrays)

        decided = [settings.model_dump(), section.model_dump(), dataset.image_shape, len(dataset.classes)]
        code = [Path(__file__), Path(networks.__file__), *sorted(Path(data.__file__).parent.glob("*.py"))]
        belongs_to = fingerprint(decided, code, [*training, *validation])
        if replicas:
            replicas.require_same(belongs_to)
            reasons += replicas.deviating(reasons)

        checkpoint = Checkpoint(args.model.with_name(f".{args.model.name}.checkpoint"), belongs_to)
        measured = validation if len(validation[1]) else None
        verbose = 1 if on_terminal() else 2
        history = fit(network, training, measured, recipe, verbose=verbose, checkpoint=checkpoint, replicas=replicas)
        if replicas is None or replicas.worker == 0:
            write(args, network, history, reasons)
            checkpoint.remove()
        if replicas:
            replicas.gather(0)  # wait for the first worker to write the results


def write(
    args: argparse.Namespace, network: "keras.Sequential", history: Mapping[str, Sequence[float]], reasons: list[str]
) -> None:
    """Write the model, its history, and the record of this machine with the reasons why the bits may differ."""
    from exactkeras import archive

    with replacing(args.model, args.history, args.platform) as (model_file, history_file, platform_file):
        archive.save(network, model_file)
        epochs = range(1, len(history["loss"]) + 1)
        write_csv(history_file, ["epoch", *history], zip(epochs, *history.values(), strict=True))
        # The record is not a DVC output, since different machines write equal models but different records.
        write_json(platform_file, {"model_sha256": file_hash(model_file)} | determinism.platform_record(reasons))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--dataset", type=Path, required=True, help="description of the data set, written by `load`")
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits, written by `preprocess`")
    parser.add_argument("--model", type=Path, required=True, help="the model to write, .keras")
    parser.add_argument("--history", type=Path, required=True, help="the metrics of each epoch to write, .csv")
    parser.add_argument("--platform", type=Path, required=True, help="the record of this machine to write, .json")
    return parser.parse_args()


if __name__ == "__main__":
    run(main, output_is_log=True)
