"""Stage 4 of the naive pipeline: evaluate."""

import json
import sys
from pathlib import Path

sys.modules["matplotlib"] = None  # type: ignore[assignment] # Keras would import it; only this project's own tools need it

import keras  # noqa: E402
import numpy as np  # noqa: E402

features, labels = np.load("prepared/x_test.npy"), np.load("prepared/y_test.npy")
model = keras.models.load_model("model.keras")
first = model.predict(features[:10], verbose=0)
right = int(np.sum(first.argmax(axis=1) == labels[:10]))
loss, accuracy = model.evaluate(features, labels, verbose=0)
Path("scores.json").write_text(json.dumps({"accuracy": accuracy, "loss": loss, "first_ten_right": right}))
