"""Stage 1, load: a data set from its source to four .npy arrays, unchanged."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.arrays import describe, replacing, require_same_length, write_npy
from stages.classes import ClassNames, count_classes, name_classes, require_labels
from stages.console import InputError, run
from stages.params import Params, read_params
from stages.sources import NAMES, Stream, open_source


class LoadParams(Params):
    """The section `load` of params.yaml, and the shared value `class_names`."""

    class_names: ClassNames
    source: str = Field(min_length=1)


def check(streams: dict[str, Stream]) -> None:
    """Check what the headers say: images uint8 [n, 28, 28] and labels uint8 [n], n at least 1.

    Raises:
        InputError: a type or shape is another, a set is empty, or images and labels disagree in number.
    """
    for name, stream in streams.items():
        form = (None, 28, 28) if name.endswith("images") else (None,)
        if stream.dtype != "uint8" or len(stream.shape) != len(form) or stream.shape[1:] != form[1:]:
            raise _wrong(stream, describe("uint8", form))
        if stream.shape[0] < 1:
            raise _wrong(stream, "at least one image")
    for split in ("train", "test"):
        images, labels = streams[f"{split}_images"], streams[f"{split}_labels"]
        require_same_length(f"{images.name} and {labels.name}", images.shape[0], labels.shape[0])


def _wrong(stream: Stream, expected: str) -> InputError:
    received = describe(stream.dtype, stream.shape)
    return InputError(stream.name, expected=expected, received=received, hint="Convert the data set to this form.")


def load(params: LoadParams, out: Path) -> None:
    """Write train_images, train_labels, test_images and test_labels as .npy files into the folder `out`.

    Raises:
        InputError: the source is missing, damaged or not a set of 28 x 28 uint8 images with labels, a class has no
            image to train on, or `class_names` are more or fewer than the classes.
    """
    with open_source(params.source) as streams:
        check(streams)
        labels = _read_labels(streams, params.class_names)
        with replacing(*(out / f"{name}.npy" for name in NAMES)) as files:
            for file, name in zip(files, NAMES, strict=True):
                stream = streams[name]
                blocks = [labels[name]] if name in labels else stream.blocks()
                write_npy(file, dtype=stream.dtype, shape=stream.shape, blocks=blocks)


def _read_labels(streams: dict[str, Stream], class_names: list[str] | None) -> dict[str, NDArray[np.generic]]:
    """Labels are small, so they are read whole and checked before anything is written."""
    train, test = streams["train_labels"], streams["test_labels"]
    labels = {name: np.concatenate(list(streams[name].blocks())) for name in ("train_labels", "test_labels")}
    classes = count_classes(train.name, labels["train_labels"])
    require_labels(test.name, labels["test_labels"], classes)
    name_classes(class_names, classes)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.load", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four arrays")
    args = parser.parse_args()
    load(read_params(args.params, "load", LoadParams), args.out)


if __name__ == "__main__":
    run(main)
