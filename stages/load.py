"""Stage 1, load: a data set from its source to four .npy arrays, unchanged."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.arrays import describe, replacing, require_labels, require_same_length, write_npy
from stages.console import InputError, run
from stages.params import Params, read_params
from stages.sources import NAMES, Stream, open_source


class LoadParams(Params):
    """The section `load` of params.yaml, and the shared value `classes`."""

    classes: int = Field(ge=2, le=256)
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
        InputError: the source is missing, damaged or not a set of 28 x 28 uint8 images with labels below `classes`.
    """
    with open_source(params.source) as streams:
        check(streams)
        with replacing(*(out / f"{name}.npy" for name in NAMES)) as files:
            for file, name in zip(files, NAMES, strict=True):
                stream = streams[name]
                blocks = _checked_labels(stream, params.classes) if name.endswith("labels") else stream.blocks()
                write_npy(file, dtype=stream.dtype, shape=stream.shape, blocks=blocks)


def _checked_labels(stream: Stream, classes: int) -> Iterator[NDArray[np.generic]]:
    position = 0
    for block in stream.blocks():
        require_labels(stream.name, block, classes, first=position)
        position += len(block)
        yield block


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.load", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four arrays")
    args = parser.parse_args()
    load(read_params(args.params, "load", LoadParams), args.out)


if __name__ == "__main__":
    run(main)
