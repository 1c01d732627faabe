"""The baseline of the convnet: Keras's public example as it stands, https://keras.io/examples/vision/mnist_convnet/.

python -m bench.keras_convnet data/mnist.npz 0

Two convolutions, each with pooling, dropout, 15 epochs of batch 128 on nine tenths of the images, adam. Its page says
about 99 %. It prints one line of JSON. Added were the data's place, a seed and the clock; taken away, the lines that it
prints and matplotlib, which Keras would import for nothing.
"""

import json
import sys
import time

start = time.perf_counter()

sys.modules["matplotlib"] = None  # type: ignore[assignment] # Keras would import it; only this project's own tools need it

import keras  # noqa: E402 (its import counts)
import numpy as np  # noqa: E402

keras.utils.set_random_seed(int(sys.argv[2]))
with np.load(sys.argv[1]) as arrays:
    x_train, y_train, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
x_train, x_test = (np.expand_dims(images.astype("float32") / 255, -1) for images in (x_train, x_test))
y_train, y_test = (keras.utils.to_categorical(labels, 10) for labels in (y_train, y_test))
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
        keras.layers.MaxPooling2D(pool_size=(2, 2)),
        keras.layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        keras.layers.MaxPooling2D(pool_size=(2, 2)),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=128, epochs=15, validation_split=0.1, verbose=0)
seconds = time.perf_counter() - start
_, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(json.dumps({"test_accuracy": accuracy, "seconds": seconds, "weights": model.count_params()}))
