"""Train a model that is good enough to read digits."""

from pathlib import Path

import numpy as np

from digits.data.splits import to_features
from digits.networks import Dense
from digits.params import TrainParams
from exactkeras import determinism
from tests.support.project import ROOT

IMAGES = 20000
NETWORK = Dense(optimizer="adam", learning_rate=0.002, epochs=4, batch_size=100, units=128)
TRAIN = TrainParams(model="dense", seed=0, shards=1, device="cpu")


def train_model(path: Path) -> Path:
    """Train a network on the first of the real training images, and save it at `path`."""
    determinism.configure(seed=TRAIN.seed)
    import tensorflow as tf

    from exactkeras import archive
    from exactkeras.fit import fit

    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        images, labels = mnist["x_train"][:IMAGES], mnist["y_train"][:IMAGES]
    model = NETWORK.build((28, 28), 10)
    training = tf.constant(to_features(images)), tf.constant(labels.astype(np.int32))
    fit(model, training, None, NETWORK.recipe(TRAIN, (28, 28)), verbose=0)
    archive.save(model, path)
    return path
