"""Stage 2, preprocess: convert images to features in [0, 1], and cut the optional validation split."""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from digits.data.dataset import Dataset, read_dataset
from digits.data.npy import NpyFile, require_rows, require_same_length, write_npy
from digits.data.splits import SPLITS, split_rows, to_features
from digits.params import read_params
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError, run


def preprocess(validation_size: int, raw: Path, out: Path) -> None:
    """Write features and labels of each split into the folder `out`, from what `load` wrote into the folder `raw`.

    Raises:
        InputError: a file is missing, damaged or of another form, or the validation split leaves nothing to train on.
    """
    dataset = read_dataset(raw / "dataset.json")
    sets = {name: _open_set(raw, name, dataset) for name in ("train", "test")}
    length = len(sets["train"][0])
    if validation_size >= length:
        name, expected = "parameter 'preprocess.validation_size'", f"less than the {length} training images"
        raise InputError(name, expected=expected, received=str(validation_size), hint="Leave images to train on.")
    width = math.prod(dataset.image_shape)
    with replacing(*(out / f"{split}_{kind}.npy" for split in SPLITS for kind in ("features", "labels"))) as files:
        for split, features_file, labels_file in zip(SPLITS, files[::2], files[1::2], strict=True):
            images, labels = sets[SPLITS[split]]
            start, stop = split_rows(split, len(images), validation_size)
            features = (to_features(block.astype(np.uint8, copy=False)) for block in images.blocks(start, stop))
            write_npy(features_file, dtype="float32", shape=(stop - start, width), blocks=features)
            write_npy(labels_file, dtype="uint8", shape=(stop - start,), blocks=labels.blocks(start, stop))
    warn_of_uneven(sets["train"][1], validation_size, dataset)


def warn_of_uneven(labels: NpyFile, validation_size: int, dataset: Dataset) -> None:
    """Warn in one line if the validation split lacks a class or is made of few, as the end of a sorted set is.

    By chance hardly ever is a class absent that has a share of ten images, or five standard deviations from its share.
    """
    if not validation_size:
        return
    rows = (0, len(labels)), split_rows("validation", len(labels), validation_size)
    whole, kept = (np.sum([np.bincount(block, minlength=256) for block in labels.blocks(*part)], 0) for part in rows)
    expected = whole * (validation_size / len(labels))
    far = np.abs(kept - expected) > np.maximum(expected / 2, 5 * np.sqrt(np.maximum(expected, 1)))
    (uneven,) = np.nonzero(far | ((expected >= 10) & (kept == 0)))
    if len(uneven):
        worst = uneven[np.argmax(np.abs(kept - expected)[uneven])]
        name = dataset.classes[worst] if worst < len(dataset.classes) else str(worst)
        sys.stderr.write(
            f"WARNING: parameter 'preprocess.validation_size': the last {validation_size} training images are no fair "
            f"sample: {kept[worst]} of class {name!a} instead of some {expected[worst]:.0f}. "
            "If the data set is sorted, shuffle it.\n"
        )


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
    preprocess(read_params(args.params, "preprocess").preprocess.validation_size, args.raw, args.out)


if __name__ == "__main__":
    run(main)
