"""Stage 3 of the naive pipeline: train."""

import sys

sys.modules["matplotlib"] = None  # type: ignore[assignment] # Keras would import it; only this project's own tools need it

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

features, labels = np.load("prepared/x_train.npy"), np.load("prepared/y_train.npy")
keras.utils.set_random_seed(0)
model = keras.Sequential([layers.Dense(512, activation="relu"), layers.Dense(10, activation="softmax")])
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(features, labels, epochs=5, batch_size=128, verbose=0)
model.save("model.keras")
