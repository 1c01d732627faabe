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

from dvcproof.runtime.program import InputError
from tests.support.arrays import flip
from tests.support.networks import convnet, dense

pytestmark = pytest.mark.usefixtures("tensorflow")
Members = dict[str, bytes]


def small(**changes: Any) -> Any:
    return dense(**changes).build((28, 28), 10)


def saved(model: Any, path: Path) -> bytes:
    from exactkeras import archive

    archive.save(model, path)
    return path.read_bytes()


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
    """As on a board without a battery; Keras's own fails, as a zip archive has no such date."""
    model = small()
    content = saved(model, tmp_path / "model.keras")
    monkeypatch.setattr("time.time", lambda: datetime(year, 5, 5, tzinfo=UTC).timestamp())
    with pytest.raises((ValueError, struct.error)):
        model.save(tmp_path / "theirs.keras")
    assert saved(model, tmp_path / "other.keras") == content


def test_kerass_own_saves_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what `save` takes away is really there in Keras's own file."""
    model = small()
    monkeypatch.setattr(zipfile.time, "localtime", lambda *_: (2001, 2, 3, 4, 5, 6, 0, 0, 0))  # type: ignore[attr-defined]
    model.save(tmp_path / "first.keras")
    monkeypatch.undo()
    model.save(tmp_path / "second.keras")
    assert (tmp_path / "first.keras").read_bytes() != (tmp_path / "second.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "second.keras") as file:
        assert "1980" not in json.loads(file.read("metadata.json"))["date_saved"]


@pytest.mark.parametrize("network", [dense, convnet])
def test_keras_and_we_open_the_saved_file(network: Any, tmp_path: Path) -> None:
    import keras

    from exactkeras import archive

    model, features = network().build((28, 28), 10), np.random.default_rng(0).random((9, 784), np.float32)
    saved(model, tmp_path / "model.keras")
    for opened in (keras.models.load_model(tmp_path / "model.keras"), archive.load(tmp_path / "model.keras")):
        np.testing.assert_array_equal(opened(features), model(features))
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        config = file.read("config.json").decode()
    identities = [int(text.split(",")[0].strip(" }")) for text in config.split('"shared_object_id":')[1:]]
    assert 0 < max(identities) <= len(identities)  # counted from 1, no address in memory


def test_settings_that_older_kerases_refuse_are_left_out(tmp_path: Path) -> None:
    from exactkeras import archive

    model = small()
    model.save(tmp_path / "theirs.keras")
    saved(model, tmp_path / "ours.keras")
    for name, there in (("theirs", True), ("ours", False)):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
            config = file.read("config.json").decode()
        assert any(f'"{setting}"' in config for setting, _ in archive.RECENT_DEFAULTS) == there


def refusal_of(path: Path, content: bytes | None = None, **options: Any) -> str:
    from exactkeras import archive

    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.keras: .*\. Train it and save it again\.") as error:
        archive.load(path, **options)
    assert len(str(error.value)) < 1000
    return str(error.value)


@pytest.fixture(scope="module")
def members(tensorflow: Any) -> Members:  # noqa: ARG001 (it sets TensorFlow up)
    """The members of the file of a small dense network."""
    from bench.faults.models import sound

    return dict(sound()[0])


def test_a_path_that_is_no_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    assert "it cannot be read (No such file or directory)" in refusal_of(path)
    assert "it cannot be read (BadZipFile: " in refusal_of(path, b"PK")
    path.unlink()
    path.mkdir()
    assert "it cannot be read (Is a directory)" in refusal_of(path)


def test_a_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    saved(small(), path)
    found = "Got one from (None, 784) to (None, 10)."
    assert f"expected a Keras model from [n, features] to [n, 3]. {found}" in refusal_of(path, classes=3)
    assert f"expected a Keras model from [n, 5] to [n, classes]. {found}" in refusal_of(path, features=5)


def layer(**changes: Any) -> Callable[[Any], Any]:
    """Change settings of the hidden layer."""
    return lambda document: document["config"]["layers"][1]["config"].update(changes)


DESCRIPTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "three million units": (layer(units=3_000_000), "bytes for 2385000010 weights"),
    "a regularizer": (layer(kernel_regularizer={"class_name": "x"}), "'kernel_regularizer' of a layer is not a plain"),
    "an activation that is called": (layer(activation={"class_name": "function"}), "'activation' of a layer is not a"),
    "no units": (layer(units=0), "it cannot be read"),
    "another class": (
        lambda document: document["config"]["layers"][1].update(class_name="Lambda"),
        "a layer of the kind Lambda is not supported",
    ),
    "a functional model": (lambda document: document.update(class_name="Functional"), "a Functional model is not"),
    "no input": (lambda document: document["config"]["layers"].pop(0), "the model does not begin with an Input"),
    "very many layers": (
        lambda document: document["config"]["layers"].extend([{"class_name": "Flatten", "config": {}}] * 100),
        "103 layers are more than 100",
    ),
    "no layers": (lambda document: document["config"].pop("layers"), "it cannot be read (KeyError: 'layers')"),
    "a name that is no text": (lambda document: document["config"].update(name=[{}]), "the setting 'name'"),
    "too long": (lambda document: document.update(more="x" * 2**18), "config.json has "),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_another_description_is_refused(tmp_path: Path, members: Members, case: str) -> None:
    from bench.faults.models import packed

    change, problem = DESCRIPTIONS[case]
    document = json.loads(members["config.json"])
    change(document)
    content = packed(members | {"config.json": json.dumps(document).encode()})
    assert problem in refusal_of(tmp_path / "m.keras", content)


WEIGHTS: dict[str, tuple[Callable[[Any, str, Any], object], str]] = {
    "NaN": (
        lambda file, name, array: file.__setitem__(name, array * np.nan),
        "digits/hidden/kernel are not finite",
    ),
    "of 8 bytes": (lambda file, name, array: file.__setitem__(name, array.astype("f8")), "not plain float32"),
    "compressed": (
        lambda file, name, _: file.create_dataset(name, (784, 10**7), "f4", chunks=(1, 1), compression="gzip"),
        "not plain float32",
    ),
    "elsewhere": (
        lambda file, name, array: file.create_dataset(name, array.shape, "f4", external=[("/dev/zero", 0, 10**6)]),
        "not plain float32",
    ),
    "missing": (lambda *_: None, "it cannot be read"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_other_weights_are_refused(tmp_path: Path, members: Members, case: str) -> None:
    import h5py

    from bench.faults.models import packed

    change, problem = WEIGHTS[case]
    file = io.BytesIO(members["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        array = weights["layers/dense/vars/0"][()]
        del weights["layers/dense/vars/0"]
        change(weights, "layers/dense/vars/0", array)
    assert problem in refusal_of(tmp_path / "m.keras", packed(members | {"model.weights.h5": file.getvalue()}))


def test_a_flipped_bit_of_the_weights_is_noticed(tmp_path: Path, members: Members) -> None:
    from bench.faults.models import packed

    content = packed(members)
    damaged = flip(content, content.index(members["model.weights.h5"][-2000:]) + 1000)
    assert "Bad CRC-32 for file 'model.weights.h5'" in refusal_of(tmp_path / "m.keras", damaged)


def test_a_layer_that_takes_much_without_weights_is_refused(tmp_path: Path) -> None:
    import keras

    from exactkeras.costs import require_moderate

    layers = [keras.layers.Reshape((28, 28, 1)), keras.layers.Conv2D(5000, 1), keras.layers.Conv2D(1, 28)]
    more = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    network = keras.Sequential([keras.Input((784,)), *layers, *more])
    line = refusal_of(tmp_path / "m.keras", saved(network, tmp_path / "n.keras"))
    assert "an image takes 7840010 multiplications, and 3920000 values in a layer, too many" in line
    with pytest.raises(InputError, match=r"network '.*': an image takes 7840010 .* Make it narrower"):
        require_moderate(network)


def test_the_largest_networks_of_the_parameters_are_within_the_bounds(tmp_path: Path) -> None:
    from exactkeras import archive, costs

    found = []
    for network in (dense(units=64), convnet(filters=8)):
        model = network.build((28, 28), 256)
        found.append(costs.costs_of(model.layers, model.input_shape))
        assert sum(cost.weights for cost in found[-1]) == model.count_params()
    products = [sum(cost.products for cost in each) for each in found]
    assert products[0] * 1024 < costs.MOST_PRODUCTS  # 65,536 units
    assert products[1] * 128**2 < costs.MOST_PRODUCTS  # 1,024 filters
    assert max(cost.values for cost in found[1]) * 128 < costs.MOST_VALUES
    content = saved(small(units=1500), tmp_path / "model.keras")
    assert len(content) > 4 * 10**6  # weights of more bytes than other files may have
    assert archive.load(tmp_path / "model.keras").count_params() == 1500 * 795 + 10
