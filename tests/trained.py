"""A model that is good enough to read digits, trained in the test on a part of the real training images."""

from pathlib import Path

import numpy as np
import pytest

from stages import numerics
from tests.conftest import ROOT

numerics.configure(seed=0)

import tensorflow as tf  # noqa: E402 (after the settings)

from stages import network, training  # noqa: E402
from stages.preprocess import to_features  # noqa: E402

IMAGES = 20000


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of the usual form. About 95 of 100 test images are right."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        images, labels = mnist["x_train"][:IMAGES], mnist["y_train"][:IMAGES]
    model = network.dense(features=784, units=128, classes=10)
    training.train(
        model,
        (tf.constant(to_features(images)), tf.constant(labels.astype(np.int32))),
        None,
        optimizer="adam",
        learning_rate=0.002,
        epochs=4,
        batch_size=100,
        shards=1,
        seed=0,
        verbose=0,
    )
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    network.save(model, path)
    return path
