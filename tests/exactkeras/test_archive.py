"""The model file: equal bytes for equal weights, in Keras's own format; and every other file is refused in one line."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.faults.files import archive as zipped
from dvcproof.runtime.program import InputError
from tests.support.arrays import flip
from tests.support.networks import convnet, dense

pytestmark = pytest.mark.usefixtures("tensorflow")
Members = dict[str, bytes]
Change = Callable[[Members], Members]


def small(**changes: Any) -> Any:
    return dense(**changes).build((28, 28), 10)


def saved(model: Any, path: Path) -> bytes:
    from exactkeras import archive

    archive.save(model, path)
    return path.read_bytes()


def config_of(path: Path) -> str:
    with zipfile.ZipFile(path) as file:
        return file.read("config.json").decode()


def test_two_saves_of_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    model, twin, other = small(), small(), small()
    twin.set_weights(model.get_weights())
    other.set_weights([array + np.float32(1e-7) for array in model.get_weights()])
    content = saved(model, tmp_path / "model.keras")
    assert content == saved(twin, tmp_path / "twin.keras")
    assert content != saved(other, tmp_path / "other.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "other.keras", "twin.keras"]


@pytest.mark.parametrize("year", [1903, 1975, 2120])
def test_no_clock_prevents_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int) -> None:
    """A board without a battery has such a clock. Keras's own save fails, since a zip archive has no such date."""
    model = small()
    content = saved(model, tmp_path / "model.keras")
    monkeypatch.setattr("time.time", lambda: datetime(year, 5, 5, tzinfo=UTC).timestamp())
    with pytest.raises((ValueError, struct.error)):
        model.save(tmp_path / "theirs.keras")
    assert saved(model, tmp_path / "other.keras") == content


def test_kerass_own_saves_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: Keras's own file does contain the varying parts that `save` removes."""
    model = small()
    monkeypatch.setattr(zipfile.time, "localtime", lambda *_: (2001, 2, 3, 4, 5, 6, 0, 0, 0))  # type: ignore[attr-defined]
    model.save(tmp_path / "first.keras")
    monkeypatch.undo()
    model.save(tmp_path / "second.keras")
    assert (tmp_path / "first.keras").read_bytes() != (tmp_path / "second.keras").read_bytes()


@pytest.mark.parametrize("network", [dense, convnet])
def test_keras_and_we_open_the_saved_file(network: Any, tmp_path: Path) -> None:
    import keras

    from exactkeras import archive

    model, features = network().build((28, 28), 10), np.random.default_rng(0).random((9, 784), np.float32)
    saved(model, tmp_path / "model.keras")
    model.save(tmp_path / "theirs.keras")
    for setting, _ in archive.RECENT_DEFAULTS:  # older versions of Keras refuse it
        assert f'"{setting}"' not in config_of(tmp_path / "model.keras")
    assert f'"{archive.RECENT_DEFAULTS[0][0]}"' in config_of(tmp_path / "theirs.keras")
    for opened in (keras.models.load_model(tmp_path / "model.keras"), archive.load(tmp_path / "model.keras")):
        np.testing.assert_array_equal(opened(features), model(features))
    parts = config_of(tmp_path / "model.keras").split('"shared_object_id":')[1:]
    identities = [int(text.split(",")[0].strip(" }")) for text in parts]
    assert 0 < max(identities) <= len(identities)  # counted from 1, no address in memory


def refusal_of(path: Path, content: bytes | None = None, **options: Any) -> str:
    from exactkeras import archive

    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.keras: .*\. Train it and save it again\.") as error:
        archive.load(path, **options)
    assert len(str(error.value)) < 1000
    return str(error.value)


def test_no_file_and_a_model_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    assert "it cannot be read (No such file or directory)" in refusal_of(path)
    saved(small(), path)
    found = "Got one from (None, 784) to (None, 10)."
    assert f"expected a Keras model from [n, features] to [n, 3]. {found}" in refusal_of(path, classes=3)
    assert f"expected a Keras model from [n, 5] to [n, classes]. {found}" in refusal_of(path, features=5)


def described(change: Callable[[Any, list[Any]], object]) -> Change:
    """Change the description of a model, or of its layers."""

    def changed(members: Members) -> Members:
        document = json.loads(members["config.json"])
        change(document, document["config"]["layers"])
        return members | {"config.json": json.dumps(document).encode()}

    return changed


def hidden(**settings: Any) -> Change:
    """Change settings of the hidden layer."""
    return described(lambda _, layers: layers[1]["config"].update(settings))


def weighted(change: Callable[[Any, str, Any], object]) -> Change:
    """Replace the kernel of the hidden layer."""

    def changed(members: Members) -> Members:
        import h5py

        file, name = io.BytesIO(members["model.weights.h5"]), "layers/dense/vars/0"
        with h5py.File(file, "a") as weights:
            array = weights[name][()]
            del weights[name]
            change(weights, name, array)
        return members | {"model.weights.h5": file.getvalue()}

    return changed


def stored(*shape: int, **options: Any) -> Change:
    return weighted(lambda file, name, _: file.create_dataset(name, shape, "f4", **options))


REFUSED: dict[str, tuple[Change, str]] = {
    "three million units": (hidden(units=3_000_000), "bytes for 2385000010 weights"),
    "a regularizer": (hidden(kernel_regularizer={"class_name": "x"}), "'kernel_regularizer' of a layer is not a plain"),
    "a function": (hidden(activation={"class_name": "function"}), "'activation' of a layer is not a"),
    "no units": (hidden(units=0), "it cannot be read"),
    "another class": (described(lambda _, layers: layers[1].update(class_name="Lambda")), "the kind Lambda is not"),
    "functional": (described(lambda model, _: model.update(class_name="Functional")), "a Functional model is not"),
    "no input": (described(lambda _, layers: layers.pop(0)), "the model does not begin with an Input"),
    "many layers": (
        described(lambda _, layers: layers.extend([{"class_name": "Flatten", "config": {}}] * 100)),
        "103 layers are more than 100",
    ),
    "no layers": (described(lambda model, _: model["config"].pop("layers")), "it cannot be read (KeyError: 'layers')"),
    "a name that is no text": (described(lambda model, _: model["config"].update(name=[{}])), "the setting 'name'"),
    "too long": (described(lambda model, _: model.update(more="x" * 2**18)), "config.json has "),
    "NaN": (weighted(lambda file, name, array: file.create_dataset(name, data=array * np.nan)), "are not finite"),
    "of 8 bytes": (weighted(lambda file, name, array: file.create_dataset(name, data=array.astype("f8"))), "not plain"),
    "compressed": (stored(784, 10**7, chunks=(1, 1), compression="gzip"), "not plain float32"),
    "elsewhere": (stored(784, 4, external=[("/dev/zero", 0, 10**6)]), "not plain float32"),
    "missing": (weighted(lambda *_: None), "it cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_model_is_refused(tmp_path: Path, case: str) -> None:
    change, problem = REFUSED[case]
    with zipfile.ZipFile(io.BytesIO(saved(small(units=4), tmp_path / "m.keras"))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    assert problem in refusal_of(tmp_path / "m.keras", zipped(change(members).items()))


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    content = saved(small(), tmp_path / "m.keras")
    assert "Bad CRC-32 for file 'model.weights.h5'" in refusal_of(
        tmp_path / "m.keras", flip(content, content.index(b"SNOD"))
    )
    assert "it cannot be read (BadZipFile: " in refusal_of(tmp_path / "m.keras", content[:2])


def test_a_layer_that_takes_much_without_weights_is_refused(tmp_path: Path) -> None:
    import keras

    from exactkeras.costs import require_moderate

    layers = [keras.layers.Reshape((28, 28, 1)), keras.layers.Conv2D(5000, 1), keras.layers.Conv2D(1, 28)]
    more = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    network = keras.Sequential([keras.Input((784,)), *layers, *more])
    line = refusal_of(tmp_path / "m.keras", saved(network, tmp_path / "n.keras"))
    assert "an image takes 7840010 multiplications, and a layer 3920000 values, which is too many" in line
    with pytest.raises(InputError, match=r"network '.*': an image takes 7840010 .* Make it narrower"):
        require_moderate(network)


def test_the_largest_networks_of_the_parameters_are_within_the_bounds(tmp_path: Path) -> None:
    from exactkeras import archive, costs

    wide, convolutions = (network.build((28, 28), 256) for network in (dense(units=64), convnet(filters=8)))
    found = [costs.costs_of(model.layers, model.input_shape) for model in (wide, convolutions)]
    assert sum(cost.weights for cost in found[1]) == convolutions.count_params()
    assert sum(cost.products for cost in found[0]) * 1024 < costs.MOST_PRODUCTS  # 65,536 units
    assert sum(cost.products for cost in found[1]) * 128**2 < costs.MOST_PRODUCTS  # 1,024 filters
    assert max(cost.values for cost in found[1]) * 128 < costs.MOST_VALUES
    content = saved(small(units=1500), tmp_path / "model.keras")
    assert len(content) > 4 * 10**6  # weights may be larger than text files may be
    assert archive.load(tmp_path / "model.keras").count_params() == 1500 * 795 + 10
