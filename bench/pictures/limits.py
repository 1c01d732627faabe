"""The limits of `unsure`, measured on what they were chosen with: validation images, and shapes that are no digits."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from bench.pictures.counting import Counts, count, count_readings
from bench.pictures.others import no_digits
from bench.study import PARAMS, run_model_stages, run_stage
from digits.apps.reading import open_reader
from dvcproof.values import set_params

#: Images that are read at a time.
BLOCK = 500


def measure_limits(data: Path, held_out: int) -> dict[str, Counts]:
    """Train on the first images of the training set, then read the others and made-up shapes.

    Args:
        data: the pipeline's folder, with raw/.
        held_out: how many training images, the last ones, are read and have no part in the training.
    """
    images, labels = (np.load(data / "raw" / f"train_{kind}.npy") for kind in ("images", "labels"))
    known, other = slice(None, -held_out), slice(-held_out, None)
    arrays = {"x_train": images[known], "y_train": labels[known], "x_test": images[other], "y_test": labels[other]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "held_out.npz", **arrays)
        source = {"load.source": str(folder / "held_out.npz"), "preprocess.validation_size": 0}
        set_params(params := Path(shutil.copy(PARAMS, folder)), source)
        raw, prepared, what = folder / "raw", folder / "prepared", "fewer images"
        run_stage("load", {"--params": params, "--out": raw}, what)
        run_stage("preprocess", {"--params": params, "--raw": raw, "--out": prepared}, what)
        run_model_stages(("train",), what, folder, folder)
        reader = open_reader(folder / "model.keras", raw / "dataset.json")
        starts = range(0, held_out, BLOCK)
        readings = (one for start in starts for one in reader.read(arrays["x_test"][start : start + BLOCK]))
        labelled = zip(map(str, arrays["y_test"].tolist()), ([one] for one in readings), strict=True)
        shapes = (("none", shape) for shape in no_digits(np.random.default_rng(0), 4))
        return {"validation": count_readings(labelled), "no digit": count(reader, shapes)}
