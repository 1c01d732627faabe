"""The hyperparameters of a training."""

from typing import NamedTuple

from exactkeras.augment import RandomAffine


class Recipe(NamedTuple):
    """The hyperparameters for `fit`."""

    optimizer: str  # "rmsprop", "adam" or "sgd"
    learning_rate: float  # constant; with a warm-up, the highest
    epochs: int
    batch_size: int
    shards: int  # equal parts that each batch is cut into, whose gradients are added in order
    seed: int  # of the order of the images, and of the augmentation
    warmup: float | None = None  # fraction of the steps in which the rate rises before it falls; None: constant rate
    augment: RandomAffine | None = None
