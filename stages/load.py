"""Stage 1, load: convert a data set to four .npy arrays, and describe it in dataset.json."""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import describe, write_npy
from digits.data.dataset import Dataset, write_dataset
from digits.data.labels import Labels, number_labels
from digits.params import Transpose, read_params
from digits.sources.orientation import Canonical, Found
from digits.sources.rows import NAMES
from digits.sources.source import open_source
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import run


def load(source: str, out: Path, *, test_size: int = 0, transpose: Transpose = "auto") -> list[str]:
    """Write the four arrays and dataset.json into the folder `out`.

    Args:
        source: the data set, in a form that `open_source` knows.
        out: the folder.
        test_size: number of training images that become the test set, if the source has no test set.
        transpose: whether to exchange height and width.

    Returns:
        The lines to print: each array with its type, shape and first and last labels; what was converted, chosen or
        left out; warnings.

    Raises:
        InputError: the source is missing, damaged or not images with labels, or a class has no image to train on.
    """
    with open_source(source, test_size) as (train, test, notes):
        labels = number_labels(train.labels, test.labels, train_name=train.labels_name, test_name=test.labels_name)
        images = {"train": train.images, "test": test.images}
        names = [source, *(rows.name for rows in images.values())]
        canonical = Canonical({name: rows.shape for name, rows in images.items()}, transpose, names)
        with replacing(*(out / f"{name}.npy" for name in NAMES), out / "dataset.json") as (*paths, description):
            files = dict(zip(NAMES, paths, strict=True))
            for name, numbers in (("train", labels.train), ("test", labels.test)):
                blocks = canonical.upright(name, images[name].blocks())
                write_npy(files[f"{name}_images"], dtype=np.uint8, shape=canonical.shapes[name], blocks=blocks)
                write_npy(files[f"{name}_labels"], dtype=np.uint8, shape=numbers.shape, blocks=[numbers])
            found = canonical.finish({name: files[f"{name}_images"] for name in images})
            write_dataset(description, describe_dataset(canonical.shapes["train"][1:], labels, found))
    lines = [*_lines("train", canonical.shapes, labels.train), *_lines("test", canonical.shapes, labels.test)]
    return [*lines, *notes, *labels.notes, *found.notes, *(f"WARNING: {warning}" for warning in found.warnings)]


def describe_dataset(image_shape: tuple[int, ...], labels: Labels, found: Found) -> Dataset:
    """Return the description of the stored data set."""
    train, test = (np.bincount(numbers, minlength=len(labels.names)).tolist() for numbers in labels[:2])
    counts = {"train": train, "test": test}
    return Dataset.model_validate(
        {"image_shape": image_shape, "classes": labels.names, "images": counts, **found.facts}
    )


def _lines(name: str, shapes: dict[str, tuple[int, ...]], labels: NDArray[np.uint8]) -> list[str]:
    shown = [*map(str, labels)] if len(labels) <= 6 else [*map(str, labels[:3]), "...", *map(str, labels[-3:])]
    return [
        f"{name + '_images':13} {describe(np.uint8, shapes[name])}",
        f"{name + '_labels':13} {describe(np.uint8, labels.shape)}: {' '.join(shown)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.load", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four arrays and dataset.json")
    args = parser.parse_args()
    params = read_params(args.params, "load").load
    lines = load(params.source, args.out, test_size=params.test_size, transpose=params.transpose)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run(main)
