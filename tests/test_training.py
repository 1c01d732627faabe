"""Network, training and the saved file, in this process."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.parts import peak_bytes
from stages import numerics
from stages.arrays import NpyFile
from stages.console import InputError
from stages.train import require_finite
from tests.conftest import Arrays
from tests.test_load import linux_only

numerics.configure(seed=0)

import keras  # noqa: E402 (after the settings)
import tensorflow as tf  # noqa: E402

from stages import network, training  # noqa: E402
from stages.augmentation import Warp  # noqa: E402


@pytest.fixture
def batch(digits: Arrays) -> tuple[Any, Any]:
    """Features [600, 784] and labels [600] of the small sample."""
    features = digits["x_train"].reshape(600, 784).astype(np.float32) / 255
    return tf.constant(features), tf.constant(digits["y_train"].astype(np.int32))


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    keras.utils.set_random_seed(0)


def fit(batch: tuple[Any, Any], model: Any, **changes: Any) -> Any:
    settings: dict[str, Any] = {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 1, "batch_size": 128}
    settings |= {"shards": 4, "seed": 0, "verbose": 0}
    return training.train(model, batch, None, **(settings | changes))


def small(units: int = 16) -> Any:
    return network.dense(features=784, units=units, classes=10)


def test_the_default_network_is_the_recipe() -> None:
    model = small(512)
    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
    assert [layer.units for layer in model.layers] == [512, 10]
    assert [layer.activation for layer in model.layers] == [keras.activations.relu, keras.activations.softmax]
    assert model.count_params() == 407_050


def test_without_softmax_gives_the_logits_of_the_same_weights(batch: tuple[Any, Any]) -> None:
    model = small()
    logits = network.without_softmax(model)(batch[0])
    np.testing.assert_allclose(tf.nn.softmax(logits), model(batch[0]), rtol=1e-5)
    assert model.layers[-1].activation is keras.activations.softmax


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_training_learns(batch: tuple[Any, Any], optimizer: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.001
    history = fit(batch, small(64), optimizer=optimizer, learning_rate=rate, epochs=5)
    assert set(history) == {"loss", "accuracy"}
    assert len(history["loss"]) == 5
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert history["accuracy"][-1] > 0.6


def test_a_step_equals_the_step_of_plain_keras(batch: tuple[Any, Any]) -> None:
    """The shards are an order of adding, not another method: one step agrees with Keras's own to rounding."""
    features, labels = batch[0][:127], batch[1][:127]
    ours, theirs = small(), small()
    theirs.set_weights(ours.get_weights())
    fit((features, labels), ours, optimizer="sgd", learning_rate=0.1)
    theirs.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    before = theirs.get_weights()
    theirs.fit(features, labels, batch_size=127, epochs=1, shuffle=False, verbose=0)
    for start, mine, other in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
        assert np.abs(mine - start).max() > 1e-4  # both moved


def test_training_twice_gives_equal_bits_and_another_seed_gives_others(batch: tuple[Any, Any]) -> None:
    def weights(seed: int) -> bytes:
        keras.utils.set_random_seed(seed)
        model = small()
        fit(batch, model, seed=seed)
        return b"".join(array.tobytes() for array in model.get_weights())

    assert weights(1) == weights(1) != weights(2)


def test_the_order_of_adding_the_shards_counts(batch: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def weights() -> bytes:
        keras.utils.set_random_seed(0)
        model = small()
        fit(batch, model, shards=4)
        return b"".join(array.tobytes() for array in model.get_weights())

    in_order, add_n = weights(), tf.add_n
    assert weights() == in_order
    monkeypatch.setattr(tf, "add_n", lambda parts: add_n(parts[::-1]))
    assert weights() != in_order


def test_a_mapped_file_is_not_copied_and_not_changed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((10, 784), np.float32)
    np.save(tmp_path / "features.npy", values)
    mapped = NpyFile(tmp_path / "features.npy", dtype="float32", shape=(None, 784)).read()
    tensor = training.tensor(mapped)
    np.testing.assert_array_equal(tensor, values)
    mapped[3] = 7
    assert tensor[3, 0] == 7  # the same memory
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), values)


@pytest.mark.parametrize("rows", [0, 5])
def test_an_array_that_tensorflow_cannot_use_in_place_is_copied(rows: int) -> None:
    room = np.zeros(2**12, np.float32)
    start = 1 + (-room.ctypes.data // 4) % 16  # four bytes beyond a multiple of 64
    array = room[start : start + 10 * rows].reshape(rows, 10)
    tensor = training.tensor(array)
    array[:] = 1
    assert tensor.shape == (rows, 10)
    assert float(tf.reduce_sum(tensor)) == 0


def test_batches_in_order_hold_every_row() -> None:
    dataset = training.in_order(tf.range(10), tf.range(10, 20), batch_size=4)
    assert [rows.numpy().tolist() for rows, _ in dataset] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [labels.numpy().tolist() for _, labels in dataset][-1] == [18, 19]
    assert len(dataset) == 3


def peak_of_first_batch(dataset: tf.data.Dataset) -> int:
    """Bytes that this process holds more, at the most, while it makes an iterator and a batch."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again: proc(5)
    except OSError:
        pytest.skip("this system does not start the peak again")
    held = peak_bytes()
    next(iter(dataset))
    return peak_bytes() - held


class Bare:
    """Tensors that stand in the dataset's graph, as they would without `training.wrapped`."""

    def __init__(self, *tensors: tf.Tensor) -> None:
        self.tensors = tensors

    def get_value(self) -> tuple[tf.Tensor, ...]:
        return self.tensors


@linux_only
@pytest.mark.parametrize("kind", ["batches", "in_order"])
def test_an_iterator_holds_no_second_copy_of_the_features(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, size = 100_000, 100_000 * 784 * 4
    np.lib.format.open_memmap(tmp_path / "features.npy", "w+", np.float32, (rows, 784))  # a hole: no disk is used
    features = training.tensor(NpyFile(tmp_path / "features.npy", dtype="float32", shape=(None, 784)).read())
    assert float(tf.reduce_sum(features)) == 0  # from here on, all of them are in memory
    options = {"batch_size": 128} | ({"seed": 0} if kind == "batches" else {})

    def peak() -> int:
        return peak_of_first_batch(getattr(training, kind)(features, tf.zeros(rows, tf.int32), **options))

    assert peak() < size / 4
    monkeypatch.setattr(training, "wrapped", Bare)
    assert peak() > size / 2  # so the measure notices it


def test_no_thread_tunes_a_dataset() -> None:
    common = (tf.range(10), tf.range(10))
    for dataset in (training.batches(*common, batch_size=4, seed=0), training.in_order(*common, batch_size=4)):
        assert dataset.options().autotune.enabled is False
    assert tf.data.Dataset.range(10).options().autotune.enabled is not False  # TensorFlow's own choice


@pytest.mark.parametrize(("count", "batch_size", "shards"), [(600, 128, 4), (5, 4, 4), (3, 8, 16), (1, 1, 1)])
def test_every_image_counts_once_an_epoch(batch: tuple[Any, Any], count: int, batch_size: int, shards: int) -> None:
    seen: list[int] = []

    dataset = training.batches(tf.range(count), batch[1][:count], batch_size=batch_size, seed=0)
    for rows, _ in dataset:
        seen += rows.numpy().tolist()
    assert sorted(seen) == list(range(count))
    history = fit((batch[0][:count], batch[1][:count]), small(), batch_size=batch_size, shards=shards)
    right = history["accuracy"][0] * count
    assert right == pytest.approx(round(right), abs=1e-3)
    assert np.isfinite(history["loss"][0])


def test_each_epoch_has_another_order() -> None:
    dataset = training.batches(tf.range(100), tf.range(100), batch_size=100, seed=0)
    first, second = (next(iter(dataset))[0].numpy().tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(100))


def test_the_loss_is_the_mean_over_all_images(batch: tuple[Any, Any]) -> None:
    features, labels = batch[0][:100], batch[1][:100]
    model = small()
    log_probabilities = tf.nn.log_softmax(network.without_softmax(model)(features)).numpy()
    expected = -log_probabilities[np.arange(100), labels.numpy()].mean()
    history = fit((features, labels), model, batch_size=30, optimizer="sgd", learning_rate=1e-9)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_a_validation_split_has_its_own_history(batch: tuple[Any, Any]) -> None:
    settings: dict[str, Any] = {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 2, "batch_size": 64}
    split = (batch[0][500:], batch[1][500:])
    history = training.train(small(), (batch[0][:500], batch[1][:500]), split, **settings, shards=2, seed=0, verbose=0)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert 0 < history["val_accuracy"][1] <= 1


def test_a_training_that_diverges_is_refused() -> None:
    require_finite({"loss": [1.0, 0.5]}, section="train")
    with pytest.raises(InputError, match=r"training, loss of epoch 2: expected a finite number. Got nan. Lower"):
        require_finite({"loss": [1.0, float("nan")]}, section="train")


def save(model: Any, path: Path) -> bytes:
    network.save(model, path)
    return path.read_bytes()


def test_two_saves_of_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    model, twin, other = small(), small(), small()
    twin.set_weights(model.get_weights())
    other.set_weights([array + np.float32(1e-7) for array in model.get_weights()])
    content = save(model, tmp_path / "model.keras")
    assert content == save(twin, tmp_path / "twin.keras")
    assert content != save(other, tmp_path / "other.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "other.keras", "twin.keras"]


def test_kerass_own_saves_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what `save` takes away is really there in Keras's own file."""
    model = small()
    monkeypatch.setattr(zipfile.time, "localtime", lambda *_: (2001, 2, 3, 4, 5, 6, 0, 0, 0))  # type: ignore[attr-defined]
    model.save(tmp_path / "first.keras")
    monkeypatch.undo()
    model.save(tmp_path / "second.keras")
    assert (tmp_path / "first.keras").read_bytes() != (tmp_path / "second.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "second.keras") as archive:
        assert "1980" not in json.loads(archive.read("metadata.json"))["date_saved"]


def test_keras_opens_the_saved_file(tmp_path: Path, batch: tuple[Any, Any]) -> None:
    model = small()
    save(model, tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(opened(batch[0]), model(batch[0]))
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        identities = [int(text.split(",")[0].strip(" }")) for text in _after(archive.read("config.json").decode())]
    assert identities
    assert max(identities) <= len(identities)  # counted from 1, no address in memory


def _after(config: str) -> list[str]:
    return config.split('"shared_object_id":')[1:]


def test_the_convnet_goes_from_features_to_probabilities_and_learns(batch: tuple[Any, Any], tmp_path: Path) -> None:
    model = network.convnet(filters=4, classes=10)
    assert (model.input_shape, model.output_shape) == ((None, 784), (None, 10))
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [4, 8, 12, 16]
    history = fit(batch, model, optimizer="adam", learning_rate=0.003, epochs=6, batch_size=32)
    assert history["accuracy"][-1] > 0.7
    save(model, tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(np.sum(opened(batch[0]), axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(opened(batch[0]), model(batch[0]))


@pytest.mark.parametrize(
    ("steps", "rise", "rates"),
    [
        (4, 0.5, [0.25, 0.75, 0.75, 0.25]),
        (4, 0.0, [0.5, 5 / 6, 0.5, 1 / 6]),  # one step at least
        (4, 1.0, [0.125, 0.375, 0.625, 0.875]),
        (1, 0.1, [0.5]),
    ],
)
def test_the_rate_rises_and_falls_in_straight_lines(steps: int, rise: float, rates: list[float]) -> None:
    schedule = training.Triangle(1.0, steps, rise)
    assert [float(schedule(tf.constant(step))) for step in range(steps)] == pytest.approx(rates)


def test_the_rate_of_each_step_reaches_the_optimizer(batch: tuple[Any, Any]) -> None:
    """SGD with all images at once: a rise over two steps is one step at a quarter of the peak and one at three."""
    start, rising, stepwise = small(), small(), small()
    for model in (rising, stepwise):
        model.set_weights(start.get_weights())
    settings: dict[str, Any] = {"optimizer": "sgd", "batch_size": 600}
    fit(batch, rising, **settings, learning_rate=0.2, epochs=2, rise=1.0)
    for rate in (0.05, 0.15):
        fit(batch, stepwise, **settings, learning_rate=rate)
    for first, found, expected in zip(*(m.get_weights() for m in (start, rising, stepwise)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - first).max() > 1e-4


def test_every_warped_image_keeps_its_label(batch: tuple[Any, Any]) -> None:
    """As many bright pixels in the middle as the label says tens of: a small warp hardly changes their sum."""
    labels = batch[1][:100]
    bright = tf.cast(tf.range(784)[None, :] - 380 < 10 * (labels[:, None] + 1), tf.float32)
    features = bright * tf.cast(tf.range(784)[None, :] >= 380, tf.float32)
    seen = 0
    for rows, found in training.batches(features, labels, batch_size=40, seed=0, warp=Warp(1, 0.01)):
        np.testing.assert_allclose(tf.reduce_sum(rows, 1), 10 * (found.numpy() + 1), rtol=0.3, atol=3)
        seen += len(rows)
    assert seen == 100


def test_every_image_is_warped_anew_in_each_epoch(batch: tuple[Any, Any]) -> None:
    dataset = training.batches(batch[0][:100], batch[1][:100], batch_size=100, seed=0, warp=Warp(1, 0.1))
    first, second = ({bytes(row) for row in next(iter(dataset))[0].numpy()} for _ in range(2))
    assert len(first) == len(second) == 100
    assert first.isdisjoint(second)
    again = {bytes(row) for row in next(iter(dataset))[0].numpy()}
    assert again.isdisjoint(first | second)
