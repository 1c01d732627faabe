"""The file of a model: equal bytes for equal weights, and Keras's own format."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data.splits import to_features
from dvcproof.runtime.program import InputError
from tests.support.networks import convnet, dense
from tests.support.project import Arrays

pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.fixture
def features(digits: Arrays) -> NDArray[np.float32]:
    """Features [100, 784] of the first training images."""
    return to_features(digits["x_train"][:100].astype(np.uint8))


def small() -> Any:
    """A new dense network of 16 units for ten classes."""
    return dense().build((28, 28), 10)


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
def test_keras_opens_the_saved_file(network: Any, tmp_path: Path, features: NDArray[np.float32]) -> None:
    import keras

    model = network().build((28, 28), 10)
    saved(model, tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(opened(features), model(features))
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        config = file.read("config.json").decode()
    identities = [int(text.split(",")[0].strip(" }")) for text in config.split('"shared_object_id":')[1:]]
    assert identities
    assert max(identities) <= len(identities)  # counted from 1, no address in memory


def test_settings_that_older_kerases_refuse_are_left_out(tmp_path: Path) -> None:
    from exactkeras import archive

    model = small()
    model.save(tmp_path / "theirs.keras")
    saved(model, tmp_path / "ours.keras")
    found = []
    for name in ("theirs", "ours"):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
            config = file.read("config.json").decode()
        found.append([setting for setting, _ in archive.RECENT_DEFAULTS if f'"{setting}"' in config])
    assert found[0]
    assert found[1] == []


def test_a_saved_model_loads_with_equal_weights(tmp_path: Path) -> None:
    from exactkeras import archive

    model = small()
    saved(model, tmp_path / "model.keras")
    for classes in (None, 10):
        for found, expected in zip(
            archive.load(tmp_path / "model.keras", classes=classes).get_weights(), model.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_a_large_model_loads_with_equal_weights(tmp_path: Path) -> None:
    from exactkeras import archive

    model = dense(units=1500).build((28, 28), 10)
    assert len(saved(model, tmp_path / "model.keras")) > 4 * 10**6  # weights of more bytes than other files may have
    for found, expected in zip(archive.load(tmp_path / "model.keras").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_stands_in_a_models_place_is_said_clearly(tmp_path: Path) -> None:
    from exactkeras import archive

    with pytest.raises(InputError, match=r"Got a damaged file \(Is a directory\)\. Run `make repro`"):
        archive.load(tmp_path)


@pytest.mark.parametrize(("bound", "member"), [("CONFIG_BYTES", "config.json"), ("WEIGHTS_BYTES", "model.weights.h5")])
def test_a_member_beyond_its_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, member: str
) -> None:
    from exactkeras import archive

    saved(small(), tmp_path / "model.keras")
    monkeypatch.setattr(archive, bound, 1000)
    with pytest.raises(InputError, match=rf"Got one with \d+ bytes of {member}\."):
        archive.load(tmp_path / "model.keras")


def test_a_model_of_another_form_is_refused(tmp_path: Path) -> None:
    from exactkeras import archive

    path = tmp_path / "model.keras"
    saved(small(), path)
    with pytest.raises(
        InputError, match=r"to \[n, 3\]\. Got one from \(None, 784\) to \(None, 10\)\. Run `make repro`"
    ):
        archive.load(path, classes=3)
    saved(dense().build((10, 10), 3), path)
    with pytest.raises(
        InputError, match=r"from \[n, 784\] to \[n, classes\]\. Got one from \(None, 100\) to \(None, 3"
    ):
        archive.load(path, features=784)


@pytest.mark.parametrize(("content", "received"), [(None, "no such file"), (b"PK", "a damaged file")])
def test_a_file_that_holds_no_model_is_refused(tmp_path: Path, content: bytes | None, received: str) -> None:
    from exactkeras import archive

    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"expected a Keras model from .*Got {received}"):
        archive.load(path, classes=10)
