"""The network, and the standard Keras file that it is saved in."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras


def dense(*, features: int, units: int, classes: int) -> keras.Sequential:
    """One hidden layer: Keras's first example.

    Args:
        features: length of an input row.
        units: width of the hidden layer.
        classes: number of classes.

    Returns:
        A model from [n, features] to the probabilities [n, classes].
    """
    return keras.Sequential(
        [
            keras.Input((features,), name="features"),
            keras.layers.Dense(units, activation="relu", name="hidden"),
            keras.layers.Dense(classes, activation="softmax", name="probabilities"),
        ],
        name="digits",
    )


def without_softmax(model: keras.Sequential) -> keras.Sequential:
    """A copy of `model` that ends in logits, with equal weights.

    The processor's approximate reciprocal inside softmax differs by maker. Losses and probabilities are therefore
    computed from logits, by log-softmax, which needs no reciprocal.
    """
    twin = keras.models.clone_model(model)
    twin.layers[-1].activation = keras.activations.linear
    twin = keras.Sequential([keras.Input(model.input_shape[1:]), *twin.layers])
    twin.set_weights(model.get_weights())
    return twin


def save(model: keras.Model, path: Path) -> None:
    """Save `model` so that equal weights give equal bytes, in Keras's own format.

    Keras writes the date into the archive, in metadata.json and as the time of each entry, and addresses in memory, as
    the identities of shared objects in config.json. The date becomes the earliest that a zip archive can hold, and
    identities count from 1. `keras.models.load_model` opens the file as any other.
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
        return value

    return json.dumps(json.loads(document, object_hook=fix), sort_keys=True).encode()
