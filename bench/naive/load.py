"""Stage 1 of the naive pipeline: load."""

from pathlib import Path

import numpy as np

Path("raw").mkdir(exist_ok=True)
with np.load("mnist.npz") as archive:
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.save(f"raw/{name}.npy", archive[name])
