"""The standard Keras file that a network is saved in: equal weights, equal bytes."""

import json
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from dvcproof.runtime.bounds import open_archive, parse_json
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file
from exactkeras.description import UnsuitableError, rebuild, require_plain_weights

#: Bytes of the longest description of a network, and of the weights of the largest: params.yaml can ask for 0.8 GB.
CONFIG_BYTES = 2**18
WEIGHTS_BYTES = 2**30

# Settings that Keras 3.13 and older refuse to read, with their default values.
RECENT_DEFAULTS = [("quantization_config", None), ("input_axes", None), ("output_axes", None), ("optional", False)]


def load(path: Path, *, features: int | None = None, classes: int | None = None) -> keras.Sequential:
    """Load a model from features to probabilities.

    Args:
        path: the file that `save` wrote.
        features: how many values its images must have; None for any number.
        classes: how many it must tell apart; None for any number.

    Raises:
        InputError: the file is missing or damaged, or the model is not from [n, features] to [n, classes], of
            another kind than `save` writes, or has a weight that is no finite number.
    """
    expected = f"a Keras model from [n, {features or 'features'}] to [n, {classes or 'classes'}]"
    hint = "Run `make repro` to train one."
    see_file(path)
    try:
        return _load(path, features, classes)
    except InputError:
        raise
    except FileNotFoundError:
        received = "no such file"
    except UnsuitableError as error:
        received = str(error)
    except Exception as error:  # Keras and HDF5 raise many kinds for a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        received = f"a damaged file ({reason})"
    raise InputError(str(path), expected=expected, received=received, hint=hint)


def _load(path: Path, features: int | None, classes: int | None) -> keras.Sequential:
    with ExitStack() as files:
        archive = open_archive(path, files)
        config = _stored(archive, "config.json", path, CONFIG_BYTES)
        weights = _stored(archive, "model.weights.h5", path, WEIGHTS_BYTES)
        model = rebuild(parse_json(archive.read(config).decode("utf-8")), weights.file_size)
        opened = files.enter_context(archive.open(weights))
        require_plain_weights(files.enter_context(h5py.File(opened, "r")), weights.file_size)
    ends = ((model.input_shape, features), (model.output_shape, classes))
    if any(len(shape) != 2 or shape[1] != (wanted or shape[1]) for shape, wanted in ends):
        raise UnsuitableError(f"one from {model.input_shape} to {model.output_shape}")
    model.load_weights(path)
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UnsuitableError(f"one with weights in {weight.path} that are no finite numbers")
    return model


def _stored(archive: zipfile.ZipFile, name: str, path: Path, most: int) -> zipfile.ZipInfo:
    """A member of at most so many bytes, which is not packed, no longer than the file, and what was written."""
    if name not in archive.NameToInfo:
        raise ValueError(f"without {name}")
    member = archive.getinfo(name)
    if member.file_size > most:
        raise UnsuitableError(f"one with {member.file_size} bytes of {name}")
    plain = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
    if not plain or member.header_offset + member.file_size > path.stat().st_size:
        raise ValueError(f"a packed {name}, or one of another length")
    with archive.open(member) as file:
        while file.read(2**18):  # at its end, the sum of the member is compared: Keras reads parts, without it
            pass
    return member


def save(model: keras.Model, path: Path) -> None:
    """Save `model` so that equal weights give equal bytes, in Keras's own format.

    Keras writes the date into the archive, in metadata.json and as the time of each entry, and addresses in memory, as
    the identities of shared objects in config.json. The date becomes the earliest that a zip archive can hold, and
    identities count from 1. `keras.models.load_model` opens the file like any other, in older versions of Keras too:
    settings that these do not know are left out where they have their default value.
    """
    dated = path.with_name(f"{path.stem}.dated{path.suffix}")
    try:
        model.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
            for name in sorted(source.namelist()):
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
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
