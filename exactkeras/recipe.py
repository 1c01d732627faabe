"""Say how a network is trained."""

from typing import NamedTuple

from exactkeras.warp import Warp


class Recipe(NamedTuple):
    """The arguments for `fit`."""

    optimizer: str  # a name that Keras knows
    learning_rate: float  # constant, or the highest one if there is a warm-up
    epochs: int
    batch_size: int
    shards: int  # parts that each batch is cut into
    seed: int  # of the order of the images, and of the augmentation
    warmup: float | None = None  # the fraction of the steps in which the rate rises, to fall then; None: constant
    warp: Warp | None = None  # the augmentation
