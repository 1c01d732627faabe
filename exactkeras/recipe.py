"""The hyperparameters of a training."""

from typing import NamedTuple

from exactkeras.augment import RandomAffine


class Recipe(NamedTuple):
    """The hyperparameters for `fit`."""

    optimizer: str  # "rmsprop", "adam" or "sgd"
    learning_rate: float  # constant; with a warm-up, the highest rate
    epochs: int
    batch_size: int
    shards: int  # each batch is cut into this many equal parts, and their gradients are added in order
    seed: int  # for the order of the images, and for the augmentation
    warmup: float | None = None  # fraction of the steps in which the rate rises before it falls; None: constant rate
    augment: RandomAffine | None = None
