"""Measure one part of the pipeline, alone in this process; print one line of JSON.

python -m bench.parts fit --params params.yaml --data data
python -m bench.parts arrays --params params.yaml --out FOLDER
python -m bench.parts load --params params.yaml --out FOLDER/raw
python -m bench.parts preprocess --params params.yaml --raw FOLDER/raw --out FOLDER/prepared
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable
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
from exactkeras import determinism
from stages.load import load
from stages.preprocess import preprocess

#: Rows and columns of the matrices whose product shows what this machine can do.
SQUARE = 2048


def load_set(params: Path, out: Path) -> None:
    """Do what the stage `load` does."""
    settings = read_params(params, "load").load
    load(settings.source, out, test_size=settings.test_size, transpose=settings.transpose)


def preprocess_set(params: Path, raw: Path, out: Path) -> None:
    """Do what the stage `preprocess` does."""
    preprocess(read_params(params, "preprocess").preprocess.validation_size, raw, out)


def dense_arithmetic(*, images: int, epochs: int, sizes: list[int]) -> int:
    """Count the multiplications and additions of the matrix products that a training of dense layers needs.

    A layer from a to b values takes 2ab for an image forwards, as many for the gradient of its weights, and as many
    for that of its input, which the first layer does not need.

    Args:
        images: of the training set.
        epochs: passes over it.
        sizes: values of an image before and after each layer: 784, 512, 10.
    """
    layers = list(pairwise(sizes))
    return images * epochs * sum(2 * a * b * (2 if index == 0 else 3) for index, (a, b) in enumerate(layers))


def multiplication_rate() -> float:
    """Return the operations per second of large float32 matrix products, one on each core; the median of 9."""
    import tensorflow as tf

    pairs = [[tf.random.normal((SQUARE, SQUARE)) for _ in range(2)] for _ in range(machine.cores())]
    products = tf.function(lambda: [tf.reduce_sum(tf.linalg.matmul(left, right)) for left, right in pairs])

    def once() -> None:
        for total in products():
            total.numpy()

    once()
    return 2 * SQUARE**3 * len(pairs) / statistics.median(timed(once)["wall"] for _ in range(9))


def fit(params: Path, data: Path) -> dict[str, Any]:
    """Do what `train` does, and return the times of its parts, its memory, and the arithmetic that it needs."""
    settings, network = read_network(params)
    dataset = read_dataset(data / "raw" / "dataset.json")
    training = open_split(data / "prepared", "train", dataset)
    imported = timed(lambda: determinism.configure(seed=settings.seed))
    from exactkeras.batches import data_of
    from exactkeras.fit import fit as fit_network

    rate = multiplication_rate()
    before = peak_bytes()
    model = network.build(dataset.image_shape, len(dataset.classes))
    recipe = network.recipe(settings, dataset.image_shape)
    history: dict[str, Any] = {}

    def train() -> None:
        history.update(fit_network(model, data_of([training])[0], None, recipe, verbose=0))

    seconds = timed(train)
    images, sizes = len(training.labels), [model.input_shape[1], *(layer.units for layer in model.layers)]
    return {
        "images": images * recipe.epochs,
        "import": imported,
        "fit": seconds,
        "accuracy": history["accuracy"][-1],
        "arithmetic": dense_arithmetic(images=images, epochs=recipe.epochs, sizes=sizes),
        "rate": rate,
        "features": images * training.features.shape[1] * 4,
        "memory": peak_bytes() - before,
    }


def arrays(params: Path, out: Path) -> dict[str, Any]:
    """Time load, preprocess and hashing, and a plain copy of the same bytes for comparison."""
    raw, prepared, copied = out / "raw", out / "prepared", out / "copied"
    steps = {
        "load": lambda: load_set(params, raw),
        "preprocess": lambda: preprocess_set(params, raw, prepared),
        "hash": lambda: [file_hash(path, "md5") for path in (*raw.iterdir(), *prepared.iterdir())],
        "copy": lambda: [shutil.copytree(folder, copied / folder.name) for folder in (raw, prepared)],
    }
    return {name: timed(step) for name, step in steps.items()}


def stage(work: Callable[[], object]) -> dict[str, Any]:
    """Return time and peak memory of a stage's work."""
    return {"seconds": timed(work), "peak": peak_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.parts", description=__doc__)
    measure: dict[str, Callable[[], dict[str, Any]]] = {
        "fit": lambda: fit(args.params, args.data),
        "arrays": lambda: arrays(args.params, args.out),
        "load": lambda: stage(lambda: load_set(args.params, args.out)),
        "preprocess": lambda: stage(lambda: preprocess_set(args.params, args.raw, args.out)),
    }
    parser.add_argument("part", choices=measure)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--raw", type=Path, help="folder of the arrays that `load` wrote")
    parser.add_argument("--out", type=Path, help="folder to write to")
    args = parser.parse_args()
    sys.stdout.write(json.dumps(measure[args.part]()) + "\n")


if __name__ == "__main__":
    main()
