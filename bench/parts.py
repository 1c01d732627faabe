"""Measure one part of the pipeline, alone in this process; print one line of JSON.

python -m bench.parts fit --params params.yaml --data data/prepared
python -m bench.parts arrays --params params.yaml --out FOLDER
python -m bench.parts load --params params.yaml --out FOLDER/raw
python -m bench.parts preprocess --params params.yaml --raw FOLDER/raw --out FOLDER/prepared
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from stages import numerics
from stages.load import LoadParams, load
from stages.params import read_params
from stages.preprocess import PreprocessParams, preprocess
from stages.splits import open_split
from stages.train import build, read_settings
from verify.hashes import file_hash

#: Rows and columns of the matrices whose product tells what this machine can do.
SQUARE = 2048


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds that `work` takes on the wall and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def peak_bytes() -> int:
    """The most memory that this process has held at once, mapped files included (Linux).

    Not `getrusage`: its figure includes what the process was before it became this program.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def dense_arithmetic(*, images: int, epochs: int, sizes: list[int]) -> int:
    """Multiplications and additions of the matrix products that a training of dense layers needs.

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
    """Operations per second of large float32 matrix products in this process, one on each core; the median of 9."""
    import tensorflow as tf

    pairs = [[tf.random.normal((SQUARE, SQUARE)) for _ in range(2)] for _ in range(numerics.cores())]
    products = tf.function(lambda: [tf.reduce_sum(tf.linalg.matmul(left, right)) for left, right in pairs])

    def once() -> None:
        for total in products():
            total.numpy()

    once()
    return 2 * SQUARE**3 * len(pairs) / statistics.median(timed(once)["wall"] for _ in range(9))


def fit(params: Path, data: Path) -> dict[str, Any]:
    """What `train` does, with the times of its parts, its memory, and the arithmetic that it needs."""
    settings = read_settings(params)
    values = settings.train
    training = open_split(data, "train")
    imported = timed(lambda: numerics.configure(seed=values.seed))
    import tensorflow as tf

    from stages import training as trainer

    rate = multiplication_rate()
    before = peak_bytes()
    model, how = build(settings, training.classes)
    history: dict[str, Any] = {}

    def train() -> None:
        tensors = trainer.tensor(training.features.read()), tf.constant(training.labels)
        history.update(trainer.train(model, tensors, None, **how, verbose=0))

    seconds = timed(train)
    images = len(training.labels)
    return {
        "images": images * values.epochs,
        "import": imported,
        "fit": seconds,
        "accuracy": history["accuracy"][-1],
        "arithmetic": dense_arithmetic(
            images=images, epochs=values.epochs, sizes=[784, values.units, training.classes]
        ),
        "rate": rate,
        "features": images * 784 * 4,
        "memory": peak_bytes() - before,
    }


def arrays(params: Path, out: Path) -> dict[str, Any]:
    """Load, preprocess and hash; and against it, copy the same bytes."""
    raw, prepared, copied = out / "raw", out / "prepared", out / "copied"
    steps = {
        "load": lambda: load(read_params(params, "load", LoadParams), raw),
        "preprocess": lambda: preprocess(read_params(params, "preprocess", PreprocessParams), raw, prepared),
        "hash": lambda: [file_hash(path, "md5") for path in (*raw.iterdir(), *prepared.iterdir())],
        "copy": lambda: [shutil.copytree(folder, copied / folder.name) for folder in (raw, prepared)],
    }
    seconds = {name: timed(step) for name, step in steps.items()}
    return seconds | {"bytes": sum(path.stat().st_size for path in (*raw.iterdir(), *prepared.iterdir()))}


def stage(work: Callable[[], object]) -> dict[str, Any]:
    """Time and peak memory of a stage's work."""
    return {"seconds": timed(work), "peak": peak_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.parts", description=__doc__)
    parser.add_argument("part", choices=("fit", "arrays", "load", "preprocess"))
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--raw", type=Path, help="folder of the arrays that `load` wrote")
    parser.add_argument("--out", type=Path, help="folder to write to")
    args = parser.parse_args()
    measure: dict[str, Callable[[], dict[str, Any]]] = {
        "fit": lambda: fit(args.params, args.data),
        "arrays": lambda: arrays(args.params, args.out),
        "load": lambda: stage(lambda: load(read_params(args.params, "load", LoadParams), args.out)),
        "preprocess": lambda: stage(
            lambda: preprocess(read_params(args.params, "preprocess", PreprocessParams), args.raw, args.out)
        ),
    }
    sys.stdout.write(json.dumps(measure[args.part]()) + "\n")


if __name__ == "__main__":
    main()
