"""Measure one part of the pipeline, alone in this process, and print one line of JSON.

python -m bench.parts PART params.yaml FOLDER    PART: load, preprocess, fit, arrays; FOLDER: with raw/ and prepared/
"""

import json
import shutil
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.measure import peak_bytes, timed
from digits.data.dataset import read_dataset
from digits.data.splits import open_split
from digits.networks import read_network
from digits.params import read_params
from dvcproof.runtime import machine
from dvcproof.runtime.files import file_hash
from exactkeras import determinism, memory
from stages.load import load
from stages.preprocess import preprocess

#: Rows and columns of the matrices whose product shows how fast this machine computes.
SQUARE = 2048


def dense_arithmetic(*, images: int, epochs: int, sizes: list[int]) -> int:
    """Count the multiplications and additions of the matrix products that a training of dense layers needs.

    A layer from a to b values takes, for each image, 2ab operations forwards, 2ab for the gradient of its weights, and
    2ab for the gradient of its input, which the first layer does not need.

    Args:
        images: number of images in the training set.
        epochs: number of passes over the training set.
        sizes: number of values of an image before and after each layer, such as 784, 512, 10.
    """
    layers = list(pairwise(sizes))
    return images * epochs * sum(2 * a * b * (2 if index == 0 else 3) for index, (a, b) in enumerate(layers))


def multiplication_rate() -> float:
    """Return the operations per second of large float32 matrix products, one on each core (median of 9)."""
    import tensorflow as tf

    pairs = [[tf.random.normal((SQUARE, SQUARE)) for _ in range(2)] for _ in range(machine.cores())]
    products = tf.function(lambda: [tf.reduce_sum(tf.linalg.matmul(left, right)) for left, right in pairs])

    def once() -> None:
        for total in products():
            total.numpy()

    once()
    return 2 * SQUARE**3 * len(pairs) / statistics.median(timed(once)["wall"] for _ in range(9))


def fit(params: Path, data: Path) -> dict[str, Any]:
    """Do what the stage `train` does. Return the times of its parts, its memory, and its number of operations."""
    settings, network = read_network(params)
    dataset = read_dataset(data / "raw" / "dataset.json")
    training = open_split(data / "prepared", "train", dataset)
    arrays = memory.read_ahead([training.features])
    determinism.configure(seed=settings.seed)
    waited = timed(lambda: arrays[0] and arrays[0].result())  # for what was not read during the import
    from exactkeras.batches import data_of
    from exactkeras.fit import fit as fit_network

    rate = multiplication_rate()
    before = peak_bytes() - (training.features.size if arrays[0] else 0)
    model = network.build(dataset.image_shape, len(dataset.classes))
    recipe = network.recipe(settings, dataset.image_shape)
    seconds = timed(lambda: fit_network(model, data_of([training], arrays)[0], None, recipe, verbose=0))
    images, sizes = len(training.labels), [model.input_shape[1], *(layer.units for layer in model.layers)]
    return {
        "images": images * recipe.epochs,
        "seconds": {kind: value + waited[kind] for kind, value in seconds.items()},
        "arithmetic": dense_arithmetic(images=images, epochs=recipe.epochs, sizes=sizes),
        "rate": rate,
        "features": images * training.features.shape[1] * 4,
        "memory": peak_bytes() - before,
    }


def main() -> None:
    part, params, folder = sys.argv[1], *map(Path, sys.argv[2:])
    settings, made = read_params(params, "load", "preprocess"), [folder / "raw", folder / "prepared"]
    source, size = settings.load, settings.preprocess.validation_size
    steps = {
        "load": lambda: load(source.source, made[0], test_size=source.test_size, transpose=source.transpose),
        "preprocess": lambda: preprocess(size, *made),
        "hash": lambda: [file_hash(path, "md5") for one in made for path in one.iterdir()],
        "copy": lambda: [shutil.copytree(one, folder / "copied" / one.name) for one in made],
    }
    if part == "fit":
        found = fit(params, folder)
    elif part == "arrays":  # load, preprocess and hashing, and a plain copy of the same bytes for comparison
        found = {name: timed(step) for name, step in steps.items()}
    else:
        found = {"seconds": timed(steps[part]), "memory": peak_bytes()}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
