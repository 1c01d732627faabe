"""Stage 1, load: convert a data set to four .npy arrays, and write its description to dataset.json."""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.data.dataset import Dataset, write_dataset
from digits.data.npy import describe, write_npy
from digits.params import Transpose, read_params
from digits.sources.images import exchanged, is_emnist, settle
from digits.sources.labels import number_labels
from digits.sources.source import open_source
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import run

#: The names of the four arrays that are written.
NAMES = ("train_images", "train_labels", "test_images", "test_labels")


def load(source: str, out: Path, *, test_size: int = 0, transpose: Transpose = "auto") -> list[str]:
    """Write the four arrays and dataset.json into the folder `out`.

    Args:
        source: the data set, as `open_source` accepts it.
        out: the folder.
        test_size: number of training images that become the test set, if the source has no test set.
        transpose: whether to exchange height and width of the images.

    Returns:
        The lines to print. They give the type and shape of each array, the first and last labels, everything that was
        converted, chosen or left out, and warnings.

    Raises:
        InputError: the source is missing, damaged or has no images with labels, or a class has no training images.
    """
    with open_source(source, test_size) as (train, test, notes):
        labels = number_labels(train.labels, test.labels)
        names = [source, train.images.name, test.images.name]
        transposed = is_emnist(names) if transpose == "auto" else transpose
        images = [exchanged(rows) if transposed else rows for rows in (train.images, test.images)]
        with replacing(*(out / f"{name}.npy" for name in NAMES), out / "dataset.json") as (*files, description):
            image_files, label_files = files[::2], files[1::2]
            for rows, numbers, image_file, label_file in zip(images, labels[:2], image_files, label_files, strict=True):
                write_npy(image_file, dtype=np.uint8, shape=rows.shape, blocks=rows.blocks())
                write_npy(label_file, dtype=np.uint8, shape=numbers.shape, blocks=[numbers])
            shape = images[0].shape[1:]
            seen, changes = settle(image_files, shape, transposed=transposed, auto=transpose == "auto")
            train_counts, test_counts = (np.bincount(each, minlength=len(labels.names)).tolist() for each in labels[:2])
            counts = {"train": train_counts, "test": test_counts}
            facts = {"image_shape": shape, "classes": labels.names, "images": counts}
            write_dataset(description, Dataset.model_validate(facts | seen))
    lines = [*_lines("train", images[0].shape, labels.train), *_lines("test", images[1].shape, labels.test)]
    return [*lines, *notes, *labels.notes, *changes]


def _lines(name: str, shape: tuple[int, ...], labels: NDArray[np.uint8]) -> list[str]:
    shown = [*map(str, labels)] if len(labels) <= 6 else [*map(str, labels[:3]), "...", *map(str, labels[-3:])]
    return [
        f"{name + '_images':13} {describe(np.uint8, shape)}",
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
