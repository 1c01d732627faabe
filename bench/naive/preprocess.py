"""Stage 2 of the naive pipeline: preprocess."""

from pathlib import Path

import numpy as np

Path("prepared").mkdir(exist_ok=True)
for split in ("train", "test"):
    images = np.load(f"raw/x_{split}.npy")
    np.save(f"prepared/x_{split}.npy", images.reshape((len(images), 28 * 28)).astype("float32") / 255)
    np.save(f"prepared/y_{split}.npy", np.load(f"raw/y_{split}.npy"))
