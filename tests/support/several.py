"""Train two small networks, alone or with several replicas, to compare them byte by byte.

Run as a program, this module is one of the workers in TF_CONFIG, or has several devices:
python -m tests.support.several FOLDER dense --deadline 60
python -m tests.support.several FOLDER --devices 3
"""

import argparse
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from digits.data.splits import to_features
from dvcproof.runtime.program import run
from exactkeras import determinism
from exactkeras.tf_config import read_cluster
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import ROOT

SHARDS = 4

#: The networks train for two epochs; the last batch is smaller, and is padded.
NETWORKS = {"dense": dense(epochs=2, batch_size=64), "convnet": convnet(epochs=2, batch_size=64)}


def recipe_of(name: str) -> Any:
    """Return the arguments for `fit`."""
    return NETWORKS[name].recipe(TRAIN.model_copy(update={"shards": SHARDS}), (28, 28))


def sample() -> list[Any]:
    """Return a training and a validation split of a few real images."""
    import tensorflow as tf

    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        features, labels = to_features(mnist["x_train"][:190]), mnist["y_train"][:190].astype(np.int32)
    return [(tf.constant(features[rows]), tf.constant(labels[rows])) for rows in (slice(150), slice(150, 190))]


def train(name: str, folder: Path, **options: Any) -> bytes:
    """Train, write the bytes of the model file and the history into `folder`, and return the bytes.

    Only the first worker validates.
    """
    import keras

    from exactkeras import archive
    from exactkeras.fit import fit

    folder.mkdir(exist_ok=True)
    keras.utils.set_random_seed(0)
    model = NETWORKS[name].build((28, 28), 10)
    history = fit(model, *sample(), **{"recipe": recipe_of(name), "verbose": 0, **options})
    archive.save(model, folder / f"{name}.keras")
    found = (folder / f"{name}.keras").read_bytes() + repr(history).encode()
    (folder / f"{name}.trained").write_bytes(found)
    return found


def on_devices(devices: int, folder: Path) -> None:
    """Train the dense network on logical devices, then again with the parts of a batch added in the opposite order."""
    import tensorflow as tf

    from exactkeras.arithmetic import in_order
    from exactkeras.replicas import Replicas

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    replicas = Replicas(tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)]))
    train("dense", folder, replicas=replicas)
    with mock.patch("exactkeras.replicas.in_order", lambda terms: in_order(terms[::-1])):
        train("dense", folder / "arrival", replicas=replicas)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--deadline", type=int, default=120)
    parser.add_argument("--devices", type=int)
    args = parser.parse_args()
    determinism.configure(seed=0)
    from exactkeras import replicas

    if args.devices:
        on_devices(args.devices, args.folder)
        return
    replicas.DEADLINE = args.deadline
    cluster = read_cluster(os.environ)
    assert cluster is not None
    with replicas.together(cluster, SHARDS) as joined:
        assert joined is not None
        for name in args.networks:
            train(name, args.folder / f"{cluster.number}", replicas=joined)
        joined.gather(0)


if __name__ == "__main__":
    run(main)
