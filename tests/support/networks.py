"""Sections of params.yaml for small networks. TensorFlow is imported when a network is built, not here."""

from typing import Any

from digits.networks import Convnet, Dense
from digits.params import TrainParams

TRAIN = TrainParams(model="dense", seed=0, shards=2, device="cpu")


def dense(**changes: Any) -> Dense:
    """Return the section of a dense network with 16 units and with the given changes."""
    values = {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 1, "batch_size": 128, "units": 16}
    return Dense.model_validate(values | changes)


def convnet(**changes: Any) -> Convnet:
    """Return the section of a convnet with 4 filters and with the given changes."""
    values = {"optimizer": "adam", "learning_rate": 0.003, "epochs": 1, "batch_size": 32, "filters": 4}
    return Convnet.model_validate(values | {"warmup": 0.25, "shift": 1.0, "distortion": 0.125} | changes)
