"""Stage 2, preprocess: images to features in [0, 1], and the optional validation split."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.arrays import NpyFile, replacing, require_rows, require_same_length, write_npy
from stages.console import InputError, run
from stages.params import Params, read_params

#: The splits, each with the set it is cut from.
SPLITS = {"train": "train", "validation": "train", "test": "test"}


class PreprocessParams(Params):
    """The section `preprocess` of params.yaml."""

    validation_size: int = Field(ge=0)


def to_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images, uint8 [n, 28, 28] from 0 to 255, to features, float32 [n, 784] from 0 to 1."""
    return np.divide(images.reshape(len(images), 28 * 28), np.float32(255), dtype=np.float32)


def split_rows(split: str, length: int, validation_size: int) -> tuple[int, int]:
    """First row and end of a split. Validation is the end of the training set; training is what is left before it.

    Args:
        split: one of SPLITS.
        length: rows of the set that the split is cut from.
        validation_size: rows of the training set to keep back.
    """
    if split == "test":
        return 0, length
    boundary = length - validation_size
    return (0, boundary) if split == "train" else (boundary, length)


def preprocess(params: PreprocessParams, raw: Path, out: Path) -> None:
    """Write features and labels of each split into the folder `out`, from the arrays in the folder `raw`.

    Raises:
        InputError: an array is missing, damaged or of another form, or the validation split leaves nothing to train on.
    """
    sets = {name: _open_set(raw, name) for name in ("train", "test")}
    if params.validation_size >= len(sets["train"][0]):
        raise InputError(
            "parameter 'preprocess.validation_size'",
            expected=f"less than the {len(sets['train'][0])} training images",
            received=str(params.validation_size),
            hint="Leave images to train on.",
        )
    paths = [out / f"{split}_{kind}.npy" for split in SPLITS for kind in ("features", "labels")]
    with replacing(*paths) as files:
        for split, features_file, labels_file in zip(SPLITS, files[::2], files[1::2], strict=True):
            images, labels = sets[SPLITS[split]]
            start, stop = split_rows(split, len(images), params.validation_size)
            write_npy(features_file, dtype="float32", shape=(stop - start, 784), blocks=_features(images, start, stop))
            write_npy(labels_file, dtype="uint8", shape=(stop - start,), blocks=labels.blocks(start, stop))


def _open_set(raw: Path, name: str) -> tuple[NpyFile, NpyFile]:
    images = NpyFile(raw / f"{name}_images.npy", dtype="uint8", shape=(None, 28, 28))
    labels = NpyFile(raw / f"{name}_labels.npy", dtype="uint8", shape=(None,))
    require_same_length(f"{images.path} and {labels.path}", len(images), len(labels))
    require_rows(str(images.path), len(images))
    return images, labels


def _features(images: NpyFile, start: int, stop: int) -> Iterator[NDArray[np.float32]]:
    for block in images.blocks(start, stop):
        yield to_features(block.astype(np.uint8, copy=False))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.preprocess", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--raw", type=Path, required=True, help="folder of the arrays that `load` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for features and labels")
    args = parser.parse_args()
    preprocess(read_params(args.params, "preprocess", PreprocessParams), args.raw, args.out)


if __name__ == "__main__":
    run(main)
