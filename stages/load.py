"""Stage 1, load: a data set from its source to four .npy arrays, and a file that says what it is."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from digits.data.arrays import describe, write_npy
from digits.data.dataset import Dataset, ImagesPerClass, write_dataset
from digits.data.labels import Labels, number_labels
from digits.params import Params, read_params
from digits.sources.canonical import Canonical, Transpose
from digits.sources.source import open_source
from digits.sources.stream import NAMES
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import run


class LoadParams(Params):
    """The section `load` of params.yaml."""

    source: str = Field(min_length=1)
    test_size: int = Field(ge=0)
    transpose: Transpose


def describe_dataset(image_shape: tuple[int, ...], labels: Labels, facts: Mapping[str, Any]) -> Dataset:
    """What the data set is.

    Args:
        image_shape: height and width, and 3 if the images are RGB.
        labels: of both sets.
        facts: the others, how the images of the source lie and where they have strokes.
    """
    counts = [np.bincount(values, minlength=len(labels.names)).tolist() for values in (labels.train, labels.test)]
    return Dataset.model_validate(
        {
            "image_shape": image_shape,
            "classes": labels.names,
            "images": ImagesPerClass(train=counts[0], test=counts[1]),
            **facts,
        }
    )


def load(source: str, out: Path, *, test_size: int = 0, transpose: Transpose = "auto") -> list[str]:
    """Write the four arrays and dataset.json into the folder `out`.

    Args:
        source: the data set, in a form that `open_source` knows.
        out: the folder.
        test_size: images that become the test set, of a source that has none.
        transpose: whether to exchange height and width.

    Returns:
        A line for each array: its name, type and shape, and of labels the first and the last; and one for each thing
        that was converted, chosen or left out, or seems wrong.

    Raises:
        InputError: the source is missing, damaged or no set of images with labels, or a class has no image to train on.
    """
    with open_source(source, test_size) as (train, test, notes):
        labels = number_labels(train.labels, test.labels, train_name=train.labels_name, test_name=test.labels_name)
        images = {"train": train.images, "test": test.images}
        names = [source, *(part.name for part in images.values())]
        shapes = {name: part.shape for name, part in images.items()}
        canonical = Canonical(shapes, transpose=transpose, names=names)
        with replacing(*(out / f"{name}.npy" for name in NAMES), out / "dataset.json") as (*paths, facts):
            files = dict(zip(NAMES, paths, strict=True))
            for name, part in images.items():
                blocks = canonical.upright(name, part.blocks())
                write_npy(files[f"{name}_images"], dtype=np.uint8, shape=canonical.shapes[name], blocks=blocks)
                numbers = labels.of(name)
                write_npy(files[f"{name}_labels"], dtype=np.uint8, shape=numbers.shape, blocks=[numbers])
            found = canonical.finish({name: files[f"{name}_images"] for name in images})
            described = {**found.facts, "form": found.form}
            write_dataset(facts, describe_dataset(canonical.shapes["train"][1:], labels, described))
    lines = [line for name in images for line in _lines(name, canonical.shapes[name], labels.of(name))]
    return [*lines, *notes, *labels.notes, *found.notes, *(f"WARNING: {warning}" for warning in found.warnings)]


def _lines(split: str, shape: tuple[int, ...], labels: NDArray[np.uint8]) -> list[str]:
    shown = [*map(str, labels)] if len(labels) <= 6 else [*map(str, labels[:3]), "...", *map(str, labels[-3:])]
    return [
        f"{split + '_images':13} {describe(np.uint8, shape)}",
        f"{split + '_labels':13} {describe(np.uint8, labels.shape)}: {' '.join(shown)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.load", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four arrays and dataset.json")
    args = parser.parse_args()
    params = read_params(args.params, "load", LoadParams)
    lines = load(params.source, args.out, test_size=params.test_size, transpose=params.transpose)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run(main)
