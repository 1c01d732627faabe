"""The baseline of the convnet study: Keras's public example, https://keras.io/examples/vision/mnist_convnet/.

python -m bench.example_convnet data/mnist.npz 0    prints one line of JSON: test accuracy, seconds, weights

Layers and training are the published ones: adam, cross-entropy, 15 epochs of batch 128 on the first nine tenths of the
images. The last tenth is scored after each epoch and chooses nothing. Labels stay integers: sparse cross-entropy gives
the same loss for them as cross-entropy for one-hot rows. The seconds are those from the start of the program to the end
of `fit`.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


class Split(NamedTuple):
    """Images in the form that the network takes, and their labels."""

    images: "NDArray[np.float32]"  # [n, 28, 28, 1] in [0, 1]
    labels: "NDArray[np.uint8]"  # [n]


def read_mnist(path: Path) -> tuple[Split, Split]:
    """Return the training set and the test set of a .npz whose arrays have Keras's four names."""
    import numpy as np

    with np.load(path) as archive:
        train, test = (
            Split(archive[f"x_{name}"][..., np.newaxis].astype(np.float32) / 255, archive[f"y_{name}"])
            for name in ("train", "test")
        )
    return train, test


def build_model() -> "keras.Sequential":
    """Return a compiled network: two convolutions, each with pooling, [n, 28, 28, 1] to probabilities [n, 10]."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),  # [26, 26, 32]
            layers.MaxPooling2D(2),  # [13, 13, 32]
            layers.Conv2D(64, 3, activation="relu"),  # [11, 11, 64]
            layers.MaxPooling2D(2),  # [5, 5, 64]
            layers.Flatten(),  # [1600]
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    start = time.perf_counter()
    parser = argparse.ArgumentParser(prog="python -m bench.example_convnet", description=__doc__)
    parser.add_argument("data", type=Path, help="the .npz of MNIST")
    parser.add_argument("seed", type=int, help="seed of the initial weights, the order of the images and the dropout")
    args = parser.parse_args()
    sys.modules["matplotlib"] = None  # type: ignore[assignment] # Keras would import it, and does not need it
    import keras  # the seconds include this import

    keras.utils.set_random_seed(args.seed)
    train, test = read_mnist(args.data)
    model = build_model()
    model.fit(train.images, train.labels, batch_size=128, epochs=15, validation_split=0.1, verbose=0)
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(test.images, test.labels, verbose=0)
    print(json.dumps({"test_accuracy": accuracy, "seconds": seconds, "weights": model.count_params()}))


if __name__ == "__main__":
    main()
