"""Stage 1, load: a data set from its source to four .npy arrays, unchanged, and a file that says what it is."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from digits.common.cli import run
from digits.common.files import replacing
from digits.common.params import Params, read_params
from digits.data.arrays import describe, write_npy
from digits.data.dataset import Dataset, ImagesPerClass, write_dataset
from digits.data.labels import count_classes, numbered, require_labels
from digits.sources.source import open_source, require_images
from digits.sources.stream import NAMES, Stream

Labels = dict[str, NDArray[np.generic]]


class LoadParams(Params):
    """The section `load` of params.yaml."""

    source: str = Field(min_length=1)


class Brightness:
    """The mean of pixels that pass by, to tell light ink on dark from dark ink on light."""

    def __init__(self) -> None:
        self.total, self.count = 0, 0

    def watch(self, blocks: Iterator[NDArray[np.generic]]) -> Iterator[NDArray[np.generic]]:
        """Let blocks of pixels, uint8, pass unchanged."""
        for block in blocks:
            self.total += int(block.sum(dtype=np.int64))
            self.count += block.size
            yield block

    def ink(self) -> str:
        """'light' if most of the picture is dark background, else 'dark'."""
        return "light" if 2 * self.total < 255 * self.count else "dark"


def read_labels(streams: dict[str, Stream]) -> Labels:
    """Read the labels of both sets whole, for they are small, and check them.

    Raises:
        InputError: a class has no image to train on, or the test set has a class that the training set lacks.
    """
    labels = {name: np.concatenate(list(streams[name].blocks())) for name in NAMES if name.endswith("labels")}
    classes = count_classes(streams["train_labels"].name, labels["train_labels"])
    require_labels(streams["test_labels"].name, labels["test_labels"], classes)
    return labels


def describe_dataset(image_shape: tuple[int, ...], labels: Labels, ink: str) -> Dataset:
    """What the data set is.

    Args:
        image_shape: height and width.
        labels: of both sets, by the names in NAMES.
        ink: 'light' or 'dark'.
    """
    classes = int(labels["train_labels"].max()) + 1
    counts = {
        name.removesuffix("_labels"): np.bincount(values.astype(np.intp), minlength=classes).tolist()
        for name, values in labels.items()
    }
    return Dataset.model_validate(
        {
            "image_shape": image_shape,
            "classes": numbered(classes),
            "images": ImagesPerClass(**counts),
            "ink": ink,
        }
    )


def load(source: str, out: Path) -> list[str]:
    """Write the four arrays and dataset.json into the folder `out`.

    Args:
        source: the data set, in a form that `open_source` knows.
        out: the folder.

    Returns:
        A line for each array: its name, type and shape, and of labels the first and the last.

    Raises:
        InputError: the source is missing, damaged or not a set of 28 x 28 uint8 images with labels, or a class has no
            image to train on.
    """
    with open_source(source) as streams:
        require_images(streams)
        labels, brightness = read_labels(streams), Brightness()
        with replacing(*(out / f"{name}.npy" for name in NAMES), out / "dataset.json") as (*files, facts):
            for file, name in zip(files, NAMES, strict=True):
                stream = streams[name]
                blocks = iter([labels[name]]) if name in labels else stream.blocks()
                if name == "train_images":
                    blocks = brightness.watch(blocks)
                write_npy(file, dtype=stream.dtype, shape=stream.shape, blocks=blocks)
            write_dataset(facts, describe_dataset(streams["train_images"].shape[1:], labels, brightness.ink()))
        return [_line(name, streams[name], labels.get(name)) for name in NAMES]


def _line(name: str, stream: Stream, labels: NDArray[np.generic] | None) -> str:
    line = f"{name:13} {describe(stream.dtype, stream.shape)}"
    if labels is None:
        return line
    if len(labels) <= 6:
        return f"{line}: {' '.join(map(str, labels))}"
    return f"{line}: {' '.join(map(str, labels[:3]))} ... {' '.join(map(str, labels[-3:]))}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.load", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four arrays and dataset.json")
    args = parser.parse_args()
    lines = load(read_params(args.params, "load", LoadParams).source, args.out)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run(main)
