"""Train two small networks, alone or with several replicas, to compare them byte by byte.

As a program this is one of the workers in TF_CONFIG, or has several devices:
python -m tests.support.several FOLDER dense --deadline 60
python -m tests.support.several FOLDER dense convnet --devices 3
"""

import argparse
import os
from collections.abc import Sequence
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
TRAIN_ROWS, VALIDATION_ROWS = 150, 40

#: Two epochs; the last batch is smaller, and is padded.
NETWORKS = {"dense": dense(epochs=2, batch_size=64), "convnet": convnet(epochs=2, batch_size=64)}

Trained = dict[str, bytes]


def recipe_of(name: str) -> Any:
    """Return the arguments for `fit`."""
    return NETWORKS[name].recipe(TRAIN.model_copy(update={"shards": SHARDS}), (28, 28))


def sample() -> tuple[Any, Any]:
    """Return a training and a validation split of a few real images."""
    import tensorflow as tf

    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        images, labels = mnist["x_train"][: TRAIN_ROWS + VALIDATION_ROWS], mnist["y_train"][:200].astype(np.int32)
    features = to_features(images)
    bounds = slice(0, TRAIN_ROWS), slice(TRAIN_ROWS, len(images))
    return tuple((tf.constant(features[rows]), tf.constant(labels[: len(images)][rows])) for rows in bounds)  # type: ignore[return-value]


def train(name: str, folder: Path, **options: Any) -> bytes:
    """Train. Returns the bytes of the model file and the history. Only the first worker validates."""
    import keras

    from exactkeras import archive
    from exactkeras.fit import fit

    keras.utils.set_random_seed(0)
    model = NETWORKS[name].build((28, 28), 10)
    history = fit(model, *sample(), **{"recipe": recipe_of(name), "verbose": 0, **options})
    archive.save(model, folder / f"{name}.keras")
    return (folder / f"{name}.keras").read_bytes() + repr(history).encode()


def train_each(names: Sequence[str], folder: Path, **options: Any) -> Trained:
    """Train several networks."""
    folder.mkdir(exist_ok=True)
    return {name: train(name, folder, **options) for name in names}


def write(found: Trained, folder: Path) -> None:
    """Write trained networks, for `read`."""
    for name, content in found.items():
        (folder / name).write_bytes(content)


def read(names: Sequence[str], folder: Path) -> Trained:
    """Read what a program of this module has trained."""
    return {name: (folder / name).read_bytes() for name in names}


def on_devices(devices: int, names: Sequence[str], folder: Path) -> None:
    """Train on logical devices; and once with the parts of a batch in the opposite order."""
    import tensorflow as tf

    from exactkeras.arithmetic import in_order
    from exactkeras.replicas import Replicas

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    replicas = Replicas(tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(devices)]))
    write(train_each(names, folder, replicas=replicas), folder)
    with mock.patch("exactkeras.replicas.in_order", lambda terms: in_order(terms[::-1])):
        write(train_each(names[:1], folder / "arrival", replicas=replicas), folder / "arrival")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--deadline", type=int, default=120)
    parser.add_argument("--devices", type=int)
    args = parser.parse_args()
    determinism.configure(seed=0)
    from exactkeras import replicas

    if args.devices:
        on_devices(args.devices, args.networks, args.folder)
        return
    replicas.DEADLINE = args.deadline
    cluster = read_cluster(os.environ)
    assert cluster is not None
    with replicas.together(cluster, SHARDS) as joined:
        assert joined is not None
        folder = args.folder / f"{cluster.number}"
        write(train_each(args.networks, folder, replicas=joined), folder)
        joined.gather(0)


if __name__ == "__main__":
    run(main)
