"""The standard Keras file that a network is saved in: equal weights, equal bytes."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from digits.common.cli import InputError

# Settings that Keras 3.13 and older refuse to read, with their default values.
RECENT_DEFAULTS = [("quantization_config", None), ("input_axes", None), ("output_axes", None), ("optional", False)]


def load(path: Path, *, classes: int | None = None) -> keras.Sequential:
    """Load a model from [n, 784] to probabilities.

    Args:
        path: the file that `save` wrote.
        classes: how many it must tell apart; None for any number.

    Raises:
        InputError: the file is missing or damaged, or the model is not from [n, 784] to [n, classes].
    """
    expected = f"a Keras model from [n, 784] to [n, {classes or 'classes'}]"
    hint = "Run `make repro` to train one."
    if not path.is_file():
        raise InputError(str(path), expected=expected, received="no such file", hint=hint)
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a damaged file
        raise InputError(str(path), expected=expected, received=f"a damaged file ({error})", hint=hint) from None
    output = model.output_shape
    if model.input_shape[1:] != (784,) or len(output) != 2 or output[1] != (classes or output[1]):
        received = f"one from {model.input_shape} to {output}"
        raise InputError(str(path), expected=expected, received=received, hint=hint)
    return model


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
