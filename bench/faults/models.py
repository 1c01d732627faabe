"""Generated .keras files."""

import functools
import io
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from hypothesis import strategies as st

from bench.faults.files import Content, Files
from bench.faults.generate import NUMBERS, Draw, archive, damaged, documents, lying, rarely_special
from digits.networks import Convnet, Dense
from exactkeras import archive as model_file

DENSE = Dense(optimizer="rmsprop", learning_rate=0.001, epochs=1, batch_size=128, units=4)
CONVNET = Convnet(
    optimizer="adam", learning_rate=0.003, epochs=1, batch_size=32, filters=1, warmup=0.25, shift=1.0, distortion=0.125
)

Members = dict[str, bytes]


@functools.cache
def sound() -> list[Members]:
    """The members of the files of two small networks."""
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
    """Files that Keras opens and the pipeline does not: other models, and such that take much."""
    inputs = keras.Input((784,))
    outputs = keras.layers.Dense(10, activation="softmax")(inputs)
    unbuilt = keras.Sequential([keras.layers.Dense(10, activation="softmax")])
    models = [
        keras.Model(inputs, outputs),
        unbuilt,
        keras.Sequential(
            [keras.Input((784,)), keras.layers.Dropout(0.5), keras.layers.Dense(10, activation="softmax")]
        ),
        keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)]),
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's, of the model that is not built
        for model in models:
            path = Path(folder) / "model.keras"
            model.save(path)
            found.append(path.read_bytes())
    return found


def packed(members: Members) -> bytes:
    """The file of these members."""
    return archive(list(members.items()), zipfile.ZIP_STORED)


@st.composite
def reshaped(draw: Draw, members: Members) -> bytes:
    """Another description, or a larger one."""
    document = json.loads(members["config.json"])
    if draw(st.booleans()):
        document = draw(documents(document))
    else:
        layer = draw(st.sampled_from(document["config"]["layers"]))["config"]
        key = draw(st.sampled_from(sorted(layer)))
        layer[key] = draw(
            st.sampled_from(
                [*NUMBERS, [10**9, 10**9], [1, 1], "Orthogonal", "l2", "gelu", {"class_name": "Orthogonal"}, None]
            )
        )
    return packed(members | {"config.json": json.dumps(document).encode()})


@st.composite
def reweighted(draw: Draw, members: Members) -> bytes:
    """Other weights: no numbers, another shape, packed ones, or weights elsewhere."""
    file = io.BytesIO(members["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        names: list[str] = []
        weights.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = draw(st.sampled_from(names))
        array, shape = np.array(weights[name]), weights[name].shape
        del weights[name]
        match draw(st.integers(0, 7)):
            case 0:
                array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from((np.nan, np.inf, -np.inf)))
                weights[name] = array
            case 1:
                weights[name] = array * np.float32(draw(st.sampled_from((1e38, 3e38, 1e-40, 0.0))))
            case 2:
                weights[name] = array.astype(draw(st.sampled_from(("f8", "i4", "f2", "S4"))))
            case 3:
                weights.create_dataset(name, shape, "f4", chunks=shape, compression="gzip", data=array)
            case 4:
                much = (*shape[:-1], draw(st.sampled_from((10**6, 10**9, 2**40))))
                weights.create_dataset(name, much, "f4", chunks=(1,) * len(shape), compression="gzip")
            case 5:
                weights[name] = draw(st.sampled_from((h5py.SoftLink("/"), h5py.ExternalLink("/dev/zero", "/"))))
            case 6:
                weights.create_dataset(name, shape, "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
            case _:
                weights[name] = array[:0]
    return packed(members | {"model.weights.h5": file.getvalue()})


@st.composite
def models(draw: Draw) -> Files:
    members = draw(st.sampled_from(sound()))
    content: Any = packed(members)
    match draw(st.integers(0, 9)):
        case 0 | 1:
            content = draw(damaged(content))
        case 2:
            content = draw(lying(content))
        case 3 | 4:
            content = packed(members | {"model.weights.h5": draw(damaged(members["model.weights.h5"]))})
        case 5 | 6:
            content = draw(reshaped(members))
        case 7 | 8:
            content = draw(reweighted(members))
        case _:
            content = draw(st.sampled_from(foreign()))
    file: Content = draw(rarely_special(st.just(content)))
    return {"model.keras": file}
