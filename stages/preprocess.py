"""Stage 2, preprocess: convert images to features in [0, 1], and cut off the optional validation split."""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits.data.dataset import Dataset, read_dataset
from digits.data.npy import NpyFile, require_rows, require_same_length, write_npy
from digits.data.splits import SPLITS, choose_validation, masked, to_features
from digits.params import read_params
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import run


def preprocess(validation_size: int, raw: Path, out: Path) -> str:
    """Read the arrays that `load` wrote into the folder `raw`. Write features and labels of each split into `out`.

    Returns the line to print; empty if the validation images are the last images of the training set.

    Raises:
        InputError: a file is missing, damaged or has another form, or the validation split leaves a class without
            training images.
    """
    dataset = read_dataset(raw / "dataset.json")
    train, test = (_open_set(raw, name, dataset) for name in ("train", "test"))
    kept_back = choose_validation(train[1].rows(0, len(train[1])), validation_size)
    parts = (train, ~kept_back), (train, kept_back), (test, np.ones(len(test[1]), bool))
    width = math.prod(dataset.image_shape)
    with replacing(*(out / f"{split}_{kind}.npy" for split in SPLITS for kind in ("features", "labels"))) as files:
        for ((images, labels), chosen), features_file, labels_file in zip(parts, files[::2], files[1::2], strict=True):
            length = int(chosen.sum())
            features = (to_features(block.astype(np.uint8, copy=False)) for block in chosen_blocks(images, chosen))
            write_npy(features_file, dtype="float32", shape=(length, width), blocks=features)
            write_npy(labels_file, dtype="uint8", shape=(length,), blocks=chosen_blocks(labels, chosen))
    if kept_back[len(kept_back) - validation_size :].all():
        return ""
    fair = f"spread evenly over each class, since the last {validation_size} are not a fair sample"
    return f"validation set: {validation_size} of the {len(kept_back)} training images, {fair}\n"


def chosen_blocks(file: NpyFile, mask: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Yield the rows that a mask chooses. Rows before the first and after the last chosen row are not read."""
    if mask.any():
        start, stop = int(mask.argmax()), len(mask) - int(mask[::-1].argmax())
        yield from masked(file.blocks(start, stop), mask[start:stop])


def _open_set(raw: Path, name: str, dataset: Dataset) -> tuple[NpyFile, NpyFile]:
    images = NpyFile(raw / f"{name}_images.npy", dtype="uint8", shape=(None, *dataset.image_shape))
    labels = NpyFile(raw / f"{name}_labels.npy", dtype="uint8", shape=(None,))
    require_same_length(f"{images.path} and {labels.path}", len(images), len(labels))
    require_rows(str(images.path), len(images))
    return images, labels


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.preprocess", description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--raw", type=Path, required=True, help="folder that `load` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for features and labels")
    args = parser.parse_args()
    sys.stdout.write(preprocess(read_params(args.params, "preprocess").preprocess.validation_size, args.raw, args.out))


if __name__ == "__main__":
    run(main)
