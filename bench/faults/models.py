"""Models in .keras files, to be damaged or refused. Importing this module imports TensorFlow."""

import functools
import tempfile
import warnings
import zipfile
from pathlib import Path

import keras

from bench.faults.files import archive
from digits.networks import Convnet, Dense
from exactkeras import archive as model_file

DENSE = Dense(optimizer="rmsprop", learning_rate=0.001, epochs=1, batch_size=128, units=4)
CONVNET = Convnet(
    optimizer="adam", learning_rate=0.003, epochs=1, batch_size=32, filters=1, warmup=0.25, shift=1.0, distortion=0.125
)

Members = dict[str, bytes]


@functools.cache
def sound() -> list[Members]:
    """Return the members of the files of two small networks."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for network in (DENSE, CONVNET):
            path = Path(folder) / "model.keras"
            model_file.save(network.build((28, 28), 10), path)
            with zipfile.ZipFile(path) as file:
                found.append({name: file.read(name) for name in file.namelist()})
    return found


@functools.cache
def foreign() -> list[bytes]:
    """Return files of models that Keras opens and the pipeline does not; the last needs a closer look."""
    inputs, softmax = keras.Input((784,)), keras.layers.Dense(10, activation="softmax")
    models = [
        keras.Model(inputs, softmax(inputs)),
        keras.Sequential([keras.layers.Dense(10, activation="softmax")]),
        keras.Sequential([inputs, keras.layers.Dropout(0.5), softmax]),
        keras.Sequential([inputs, keras.layers.Dense(10)]),
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns about the second, which is not built
        for model in models:
            model.save(Path(folder) / "model.keras")
            found.append((Path(folder) / "model.keras").read_bytes())
    return found


def packed(members: Members) -> bytes:
    """Return the file with these members."""
    return archive(members.items())
