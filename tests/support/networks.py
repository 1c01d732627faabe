"""Sections of params.yaml for small networks. TensorFlow is imported when one is built, not here."""

from typing import Any

from digits.networks import Convnet, Dense, Train

TRAIN = Train(model="dense", seed=0, shards=2, device="cpu")


def dense(**changes: Any) -> Dense:
    """The dense network with 16 units, and other values where they are given."""
    values = {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 1, "batch_size": 128, "units": 16}
    return Dense.model_validate(values | changes)


def convnet(**changes: Any) -> Convnet:
    """The convnet with 4 filters, and other values where they are given."""
    values = {"optimizer": "adam", "learning_rate": 0.003, "epochs": 1, "batch_size": 32, "filters": 4}
    return Convnet.model_validate(values | {"warmup": 0.25, "shift": 1.0, "distortion": 0.125} | changes)
