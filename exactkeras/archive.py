"""Write and read .keras files: equal weights give equal bytes, and no code that a file names is called.

A file from elsewhere is checked before memory of its declared size is allocated. Only layers with a defined arithmetic
are built, from plain settings.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import h5py
import keras
import numpy as np

from dvcproof.runtime.bounds import open_archive, parse_json
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file
from exactkeras.costs import costs_of, excess

#: The layers that a file may contain: names of classes in `keras.layers`.
LAYERS = ("InputLayer", "Dense", "Conv2D", "Reshape", "Flatten")

#: Settings of a layer that are ignored: the weights are in the file, and the type is always float32.
LEFT_OUT = ("dtype", "kernel_initializer", "bias_initializer")

#: The most that a file may have: bytes of its config.json, bytes of its weights, layers, and HDF5 objects.
CONFIG_BYTES = 2**18
WEIGHTS_BYTES = 2**30
MOST_LAYERS = 100
MOST_OBJECTS = 1000

#: The earliest date that a zip archive can store, and a clock for `zipfile` that always returns this date.
EARLIEST = (1980, 1, 1, 0, 0, 0)
STILL = SimpleNamespace(time=lambda: 0.0, localtime=lambda _: EARLIEST)

#: Settings that Keras 3.13 and older refuse to read, with their default values.
RECENT_DEFAULTS = [("quantization_config", None), ("input_axes", None), ("output_axes", None), ("optional", False)]


class UnsuitableError(ValueError):
    """The file holds a model that `save` does not write. The message says why."""


def load(
    path: Path, *, features: int | None = None, classes: int | None = None, hint: str = "Train it and save it again."
) -> keras.Sequential:
    """Load a model that `save` wrote. It maps [n, features] to probabilities [n, classes]; None: any number.

    Raises:
        InputError: the file is missing or damaged, or its model has another shape, another kind of layer or a weight
            that is not finite. `hint` is the next step.
    """
    see_file(path)
    try:
        model = _load(path)
    except InputError:
        raise
    except UnsuitableError as error:
        raise InputError(str(path), str(error), hint=hint) from None
    except Exception as error:  # Keras and HDF5 raise many kinds of errors for a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        raise InputError(str(path), f"it cannot be read ({reason})", hint=hint) from None
    ends = ((model.input_shape, features), (model.output_shape, classes))
    if any(len(shape) != 2 or shape[1] != (wanted or shape[1]) for shape, wanted in ends):
        expected = f"a Keras model from [n, {features or 'features'}] to [n, {classes or 'classes'}]"
        received = f"one from {model.input_shape} to {model.output_shape}"
        raise InputError(str(path), expected=expected, received=received, hint=hint)
    return model


def _load(path: Path) -> keras.Sequential:
    with ExitStack() as files:
        archive = open_archive(path, files)
        config = _member(archive, "config.json", path, CONFIG_BYTES)
        weights = _member(archive, "model.weights.h5", path, WEIGHTS_BYTES)
        layers, name = _layers(parse_json(archive.read(config).decode("utf-8")))
        costs = costs_of(layers[1:], layers[0].batch_shape)
        if 4 * (count := sum(cost.weights for cost in costs)) > weights.file_size:
            raise UnsuitableError(f"the file has {weights.file_size} bytes for {count} weights")
        if problem := excess(costs):
            raise UnsuitableError(problem)
        opened = files.enter_context(archive.open(weights))
        require_plain_weights(files.enter_context(h5py.File(opened, "r")), weights.file_size)
    model = keras.Sequential(layers, name=name)
    model.load_weights(path)
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UnsuitableError(f"the weights {weight.path} are not finite")
    return model


def _member(archive: zipfile.ZipFile, name: str, path: Path, most: int) -> zipfile.ZipInfo:
    """Check that a member is stored uncompressed and unchanged, in at most `most` bytes."""
    if name not in archive.NameToInfo:
        raise ValueError(f"{name} is missing")
    member = archive.getinfo(name)
    if member.file_size > most:
        raise UnsuitableError(f"{name} has {member.file_size} bytes, more than {most}")
    stored = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
    if not stored or member.header_offset + member.file_size > path.stat().st_size:
        raise ValueError(f"{name} is compressed or has another length")
    with archive.open(member) as file:
        # At the end, `read` compares the checksum. Keras reads parts of the file and does not compare it.
        while file.read(2**18):
            pass
    return member


def _layers(description: Mapping[str, Any]) -> tuple[list[keras.layers.Layer], str]:
    """Return the layers that config.json describes, not built yet, and the name of the network."""
    kind = description["class_name"]
    if kind != "Sequential":
        raise UnsuitableError(f"a {kind} model is not supported, only Sequential")
    entries = description["config"]["layers"]
    if len(entries) > MOST_LAYERS:
        raise UnsuitableError(f"{len(entries)} layers are more than {MOST_LAYERS}")
    layers = []
    for entry in entries:
        if entry["class_name"] not in LAYERS:
            raise UnsuitableError(f"a layer of the kind {entry['class_name']} is not supported")
        settings = {key: _plain(key, value) for key, value in entry["config"].items() if key not in LEFT_OUT}
        layers.append(getattr(keras.layers, entry["class_name"])(**settings))
    if not layers or not isinstance(layers[0], keras.layers.InputLayer):
        raise UnsuitableError("the model does not begin with an Input")
    return layers, _plain("name", description["config"]["name"])


def _plain(key: str, value: Any) -> Any:
    """Return a setting that is a number, a short text, None or a short list of integers; else raise."""
    if isinstance(value, list) and len(value) <= 8 and all(item is None or type(item) is int for item in value):
        return tuple(value)
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 100):
        return value
    raise UnsuitableError(f"the setting '{key}' of a layer is not a plain value")


def require_plain_weights(file: h5py.File, stored: int) -> None:
    """Raise ValueError if weights are not plain float32 arrays in this file, or need more than `stored` bytes."""
    objects = size = 0

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal objects, size
        objects += 1
        if objects > MOST_OBJECTS:
            raise ValueError(f"more than {MOST_OBJECTS} arrays")
        if isinstance(item, h5py.Dataset):
            own = math.prod(item.shape) * item.dtype.itemsize
            size += own
            if item.dtype != "float32" or item.external or item.is_virtual or item.id.get_storage_size() != own:
                raise ValueError(f"the weights {name} are not plain float32")

    file.visititems(look)
    if size > stored:
        raise ValueError(f"{size} bytes of weights in {stored}")


def save(model: keras.Model, path: Path) -> None:
    """Save `model` in Keras's own format, so that equal weights give equal bytes.

    Keras writes the date into metadata.json and each zip entry, and memory addresses into config.json as identities of
    shared objects. Here the date is always EARLIEST, and the identities are counted from 1. A setting that older
    versions of Keras do not know is left out if it has its default value.
    """
    dated = path.with_name(f"{path.stem}.dated{path.suffix}")
    try:
        with mock.patch("zipfile.time", STILL):
            model.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
            for name in sorted(source.namelist()):
                entry = zipfile.ZipInfo(name, date_time=EARLIEST)
                entry.create_system = 3  # Unix: the default depends on the machine
                content = source.read(name)
                target.writestr(entry, _canonical(content) if name.endswith(".json") else content)
    finally:
        dated.unlink(missing_ok=True)


def _canonical(document: bytes) -> bytes:
    identities: dict[int, int] = {}

    def fix(value: dict[str, Any]) -> dict[str, Any]:
        if "date_saved" in value:
            value["date_saved"] = "1980-01-01@00:00:00"
        if "shared_object_id" in value:
            value["shared_object_id"] = identities.setdefault(value["shared_object_id"], len(identities) + 1)
        return {key: setting for key, setting in value.items() if (key, setting) not in RECENT_DEFAULTS}

    return json.dumps(json.loads(document, object_hook=fix), sort_keys=True).encode()
