"""The baseline of the convnet study: Keras's public example, https://keras.io/examples/vision/mnist_convnet/.

python -m bench.example_convnet data/mnist.npz 0    prints one line of JSON: test accuracy, seconds, weights

Layers and training are the published ones: adam, cross-entropy, 15 epochs of batch 128 on the first nine tenths of the
images. The last tenth is scored after each epoch and chooses nothing. Labels stay integers: sparse cross-entropy gives
the same loss for them as cross-entropy for one-hot rows. The seconds are those from the start of the program to the end
of `fit`.
"""

import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def build_model() -> "keras.Sequential":
    """Return a compiled network of two convolutions with pooling: images [n, 28, 28, 1] -> probabilities [n, 10]."""
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
    start, (path, seed) = time.perf_counter(), sys.argv[1:]
    sys.modules["matplotlib"] = None  # type: ignore[assignment] # Keras would import it, and does not need it
    import keras  # the seconds include this import
    import numpy as np

    keras.utils.set_random_seed(int(seed))  # initial weights, order of the images, dropout
    with np.load(path) as data:
        images = {name: data[f"x_{name}"][..., np.newaxis].astype(np.float32) / 255 for name in ("train", "test")}
        labels = {name: data[f"y_{name}"] for name in ("train", "test")}
    model = build_model()
    model.fit(images["train"], labels["train"], batch_size=128, epochs=15, validation_split=0.1, verbose=0)
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(images["test"], labels["test"], verbose=0)
    print(json.dumps({"test_accuracy": accuracy, "seconds": seconds, "weights": model.count_params()}))


if __name__ == "__main__":
    main()
