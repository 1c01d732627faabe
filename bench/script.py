"""The baseline: the same training as one plain script, with `model.fit` on NumPy arrays, as most people write it.

python -m bench.script data/mnist.npz    prints one line of JSON: accuracy, and seconds of each part
"""

import json
import sys
import time

start = time.perf_counter()

sys.modules["matplotlib"] = None  # type: ignore[assignment] # Keras would import it; only this project's own tools need it

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

imported = time.perf_counter()

with np.load(sys.argv[1]) as archive:
    train_images, train_labels = archive["x_train"], archive["y_train"]
    test_images, test_labels = archive["x_test"], archive["y_test"]
train_images = train_images.reshape((60000, 28 * 28)).astype("float32") / 255
test_images = test_images.reshape((10000, 28 * 28)).astype("float32") / 255
prepared = time.perf_counter()

keras.utils.set_random_seed(0)
model = keras.Sequential([layers.Dense(512, activation="relu"), layers.Dense(10, activation="softmax")])
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
fit_cpu = time.process_time()
fit_start = time.perf_counter()
model.fit(train_images, train_labels, epochs=5, batch_size=128, verbose=0)
fit, fit_cpu = time.perf_counter() - fit_start, time.process_time() - fit_cpu

first = model.predict(test_images[:10], verbose=0)
right = int(np.sum(first.argmax(axis=1) == test_labels[:10]))
_, accuracy = model.evaluate(test_images, test_labels, verbose=0)
seconds = {"import": imported - start, "prepare": prepared - imported, "fit": fit, "fit_cpu": fit_cpu}
sys.stdout.write(json.dumps({"accuracy": accuracy, "first_ten_right": right, "seconds": seconds}) + "\n")
