"""Train a small network on Fashion-MNIST in exact arithmetic: every machine writes the same file, fashion.keras.

    python -m examples.fashion_mnist /usr/share/datasets/fashion-mnist

exactkeras/README.md states its SHA-256.
"""

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, run
from exactkeras import determinism


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds the four gzipped IDX files of a set of ten classes")
    parser.add_argument("--images", type=int, default=60_000, help="train on so many, and test on at most as many")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if min(args.images, args.epochs) < 1:
        parser.error("give at least one image and one epoch")
    reasons = determinism.configure(seed=args.seed)  # before anything imports TensorFlow or Keras

    import keras
    import tensorflow as tf

    from exactkeras import archive
    from exactkeras.fit import fit
    from exactkeras.probe import deviations
    from exactkeras.recipe import Recipe

    def split(part: str) -> tuple[Any, Any]:
        images = read(args.folder / f"{part}-images-idx3-ubyte.gz", 784)[: args.images]
        labels = read(args.folder / f"{part}-labels-idx1-ubyte.gz")[: args.images]
        return tf.constant(images / np.float32(255)), tf.constant(labels)

    layers = [keras.layers.Reshape((28, 28, 1)), keras.layers.Conv2D(8, 3, strides=2, activation="relu")]
    layers += [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    network = keras.Sequential([keras.Input((784,)), *layers], name="fashion")
    recipe = Recipe("adam", 0.002, epochs=args.epochs, batch_size=128, shards=2, seed=args.seed)
    training, test = split("train"), split("t10k")
    for reason in reasons + deviations(network, recipe, len(training[1])):
        print("This machine may give other bytes:", reason)
    history = fit(network, training, test, recipe, verbose=2)
    archive.save(network, Path("fashion.keras"))
    print(f"test accuracy {history['val_accuracy'][-1]:.2%}")
    print(f"SHA-256 {file_hash(Path('fashion.keras'))}")


def read(path: Path, *row: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, [n, *row]: its fourth byte is the number of axes, whose lengths are int32."""
    compressed = path.read_bytes()
    try:
        content = gzip.decompress(compressed)
        count = int.from_bytes(content[4:8], "big")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(count, *row)
    except Exception as error:  # gzip, zlib and NumPy raise many kinds
        hint = "Give the folder of Fashion-MNIST's four .gz files."
        raise InputError(str(path), f"it cannot be read ({error})", hint=hint) from None


if __name__ == "__main__":
    run(main)
