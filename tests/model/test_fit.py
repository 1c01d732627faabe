"""Training: shards added in order, batches of every image, the schedule of the rate; in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.parts import peak_bytes
from digits.data.arrays import NpyFile
from digits.data.splits import to_features
from digits.model.networks import Recipe
from digits.model.warp import Warp
from tests.support.memory import linux_only
from tests.support.networks import convnet, dense
from tests.support.project import Arrays

Batch = tuple[Any, Any]


@pytest.fixture(autouse=True)
def tf(tensorflow: Any) -> Any:
    """TensorFlow, with the same seed for each test."""
    import keras

    keras.utils.set_random_seed(0)
    return tensorflow


@pytest.fixture
def batch(tf: Any, digits: Arrays) -> Batch:
    """Features [600, 784] and labels [600] of the small sample."""
    return tf.constant(to_features(digits["x_train"].astype(np.uint8))), tf.constant(digits["y_train"].astype(np.int32))


def train(batch: Batch, model: Any, validation: Batch | None = None, **changes: Any) -> Any:
    """The history of a training with four shards for one epoch."""
    from digits.model.fit import fit

    recipe = Recipe("rmsprop", 0.001, epochs=1, batch_size=128, shards=4, seed=0)
    return fit(model, batch, validation, recipe._replace(**changes), verbose=0)


def small(units: int = 16) -> Any:
    """A new dense network for ten classes."""
    return dense(units=units).build((28, 28), 10)


def weights(model: Any) -> bytes:
    return b"".join(array.tobytes() for array in model.get_weights())


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_training_learns(batch: Batch, optimizer: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.001
    history = train(batch, small(64), optimizer=optimizer, learning_rate=rate, epochs=5)
    assert set(history) == {"loss", "accuracy"}
    assert len(history["loss"]) == 5
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert history["accuracy"][-1] > 0.6


def test_the_convnet_learns(batch: Batch) -> None:
    model = convnet().build((28, 28), 10)
    history = train(batch, model, optimizer="adam", learning_rate=0.003, epochs=6, batch_size=32)
    assert history["accuracy"][-1] > 0.7


def test_a_step_equals_the_step_of_plain_keras(batch: Batch) -> None:
    """The shards are an order of adding, not another method: one step agrees with Keras's own to rounding."""
    import keras

    features, labels = batch[0][:127], batch[1][:127]
    ours, theirs = small(), small()
    theirs.set_weights(ours.get_weights())
    train((features, labels), ours, optimizer="sgd", learning_rate=0.1)
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


def test_equal_seeds_give_equal_bits_and_others_do_not(batch: Batch) -> None:
    def trained(seed: int) -> bytes:
        import keras

        keras.utils.set_random_seed(seed)
        model = small()
        train(batch, model, seed=seed)
        return weights(model)

    assert trained(1) == trained(1) != trained(2)


def test_the_order_of_adding_the_shards_counts(tf: Any, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> bytes:
        import keras

        keras.utils.set_random_seed(0)
        model = small()
        train(batch, model, shards=4)
        return weights(model)

    in_order, add_n = trained(), tf.add_n
    assert trained() == in_order
    monkeypatch.setattr(tf, "add_n", lambda parts: add_n(parts[::-1]))
    assert trained() != in_order


def test_a_mapped_file_is_not_copied_and_not_changed(tmp_path: Path) -> None:
    from digits.model.fit import tensor

    values = np.random.default_rng(0).random((10, 784), np.float32)
    np.save(tmp_path / "features.npy", values)
    mapped = NpyFile(tmp_path / "features.npy", dtype="float32", shape=(None, 784)).read()
    made = tensor(mapped)
    np.testing.assert_array_equal(made, values)
    mapped[3] = 7
    assert made[3, 0] == 7  # the same memory
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), values)


@pytest.mark.parametrize("rows", [0, 5])
def test_an_array_that_cannot_be_used_in_place_is_copied(tf: Any, rows: int) -> None:
    from digits.model.fit import tensor

    room = np.zeros(2**12, np.float32)
    start = 1 + (-room.ctypes.data // 4) % 16  # four bytes beyond a multiple of 64
    array = room[start : start + 10 * rows].reshape(rows, 10)
    made = tensor(array)
    array[:] = 1
    assert made.shape == (rows, 10)
    assert float(tf.reduce_sum(made)) == 0


def test_batches_in_order_hold_every_row(tf: Any) -> None:
    from digits.model.fit import in_order

    dataset = in_order(tf.range(10), tf.range(10, 20), batch_size=4)
    assert [rows.numpy().tolist() for rows, _ in dataset] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [labels.numpy().tolist() for _, labels in dataset][-1] == [18, 19]
    assert len(dataset) == 3


def peak_of_first_batch(dataset: Any) -> int:
    """Bytes that this process holds more, at the most, while it makes an iterator and a batch."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again: proc(5)
    except OSError:
        pytest.skip("this system does not start the peak again")
    held = peak_bytes()
    next(iter(dataset))
    return peak_bytes() - held


class Bare:
    """Tensors that stand in the dataset's graph, as they would without `fit.wrapped`."""

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tensors

    def get_value(self) -> tuple[Any, ...]:
        return self.tensors


@linux_only
@pytest.mark.parametrize("kind", ["batches", "in_order"])
def test_an_iterator_holds_no_second_copy_of_the_features(
    kind: str, tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from digits.model import fit

    rows, size = 100_000, 100_000 * 784 * 4
    np.lib.format.open_memmap(tmp_path / "features.npy", "w+", np.float32, (rows, 784))  # a hole: no disk is used
    features = fit.tensor(NpyFile(tmp_path / "features.npy", dtype="float32", shape=(None, 784)).read())
    assert float(tf.reduce_sum(features)) == 0  # from here on, all of them are in memory
    options = {"batch_size": 128} | ({"seed": 0} if kind == "batches" else {})

    def peak() -> int:
        return peak_of_first_batch(getattr(fit, kind)(features, tf.zeros(rows, tf.int32), **options))

    assert peak() < size / 4
    monkeypatch.setattr(fit, "wrapped", Bare)
    assert peak() > size / 2  # so the measure notices it


def test_no_thread_tunes_a_dataset(tf: Any) -> None:
    from digits.model.fit import batches, in_order

    common = (tf.range(10), tf.range(10))
    for dataset in (batches(*common, batch_size=4, seed=0), in_order(*common, batch_size=4)):
        assert dataset.options().autotune.enabled is False
    assert tf.data.Dataset.range(10).options().autotune.enabled is not False  # TensorFlow's own choice


@pytest.mark.parametrize(("count", "batch_size", "shards"), [(600, 128, 4), (5, 4, 4), (3, 8, 16), (1, 1, 1)])
def test_every_image_counts_once_an_epoch(tf: Any, batch: Batch, count: int, batch_size: int, shards: int) -> None:
    from digits.model.fit import batches

    seen: list[int] = []
    dataset = batches(tf.range(count), batch[1][:count], batch_size=batch_size, seed=0)
    for rows, _ in dataset:
        seen += rows.numpy().tolist()
    assert sorted(seen) == list(range(count))
    history = train((batch[0][:count], batch[1][:count]), small(), batch_size=batch_size, shards=shards)
    right = history["accuracy"][0] * count
    assert right == pytest.approx(round(right), abs=1e-3)
    assert np.isfinite(history["loss"][0])


def test_each_epoch_has_another_order(tf: Any) -> None:
    from digits.model.fit import batches

    dataset = batches(tf.range(100), tf.range(100), batch_size=100, seed=0)
    first, second = (next(iter(dataset))[0].numpy().tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(100))


def test_the_loss_is_the_mean_over_all_images(tf: Any, batch: Batch) -> None:
    from digits.model.archive import without_softmax

    features, labels = batch[0][:100], batch[1][:100]
    model = small()
    log_probabilities = tf.nn.log_softmax(without_softmax(model)(features)).numpy()
    expected = -log_probabilities[np.arange(100), labels.numpy()].mean()
    history = train((features, labels), model, batch_size=30, optimizer="sgd", learning_rate=1e-9)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_a_validation_split_has_its_own_history(batch: Batch) -> None:
    split = (batch[0][500:], batch[1][500:])
    history = train((batch[0][:500], batch[1][:500]), small(), split, epochs=2, batch_size=64, shards=2)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert 0 < history["val_accuracy"][1] <= 1


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"),
    [
        (4, 0.5, [0.25, 0.75, 0.75, 0.25]),
        (4, 0.0, [0.5, 5 / 6, 0.5, 1 / 6]),  # one step at least
        (4, 1.0, [0.125, 0.375, 0.625, 0.875]),
        (1, 0.1, [0.5]),
    ],
)
def test_the_rate_rises_and_falls_in_straight_lines(tf: Any, steps: int, warmup: float, rates: list[float]) -> None:
    from digits.model.fit import WarmupLinearDecay

    schedule = WarmupLinearDecay(1.0, steps, warmup)
    assert [float(schedule(tf.constant(step))) for step in range(steps)] == pytest.approx(rates)


def test_the_rate_of_each_step_reaches_the_optimizer(batch: Batch) -> None:
    """SGD with all images at once: a rise over two steps is one step at a quarter of the peak and one at three."""
    start, rising, stepwise = small(), small(), small()
    for model in (rising, stepwise):
        model.set_weights(start.get_weights())
    settings: dict[str, Any] = {"optimizer": "sgd", "batch_size": 600}
    train(batch, rising, **settings, learning_rate=0.2, epochs=2, warmup=1.0)
    for rate in (0.05, 0.15):
        train(batch, stepwise, **settings, learning_rate=rate)
    for first, found, expected in zip(*(m.get_weights() for m in (start, rising, stepwise)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - first).max() > 1e-4


def test_every_warped_image_keeps_its_label(tf: Any, batch: Batch) -> None:
    """As many bright pixels in the middle as the label says tens of: a small warp hardly changes their sum."""
    from digits.model.fit import batches

    labels = batch[1][:100]
    bright = tf.cast(tf.range(784)[None, :] - 380 < 10 * (labels[:, None] + 1), tf.float32)
    features = bright * tf.cast(tf.range(784)[None, :] >= 380, tf.float32)
    seen = 0
    for rows, found in batches(features, labels, batch_size=40, seed=0, warp=Warp(1, 0.01)):
        np.testing.assert_allclose(tf.reduce_sum(rows, 1), 10 * (found.numpy() + 1), rtol=0.3, atol=3)
        seen += len(rows)
    assert seen == 100


def test_an_image_is_warped_differently_in_every_epoch(batch: Batch) -> None:
    from digits.model.fit import batches

    dataset = batches(batch[0][:100], batch[1][:100], batch_size=100, seed=0, warp=Warp(1, 0.1))
    first, second, third = ({bytes(row) for row in next(iter(dataset))[0].numpy()} for _ in range(3))
    assert len(first) == len(second) == 100
    assert first.isdisjoint(second)
    assert third.isdisjoint(first | second)


def test_the_warp_of_the_recipe_reaches_the_training(batch: Batch) -> None:
    start, plain, warped = small(), small(), small()
    for model, warp in ((plain, None), (warped, Warp(1, 0.1))):
        model.set_weights(start.get_weights())
        train(batch, model, warp=warp)
    assert weights(plain) != weights(warped)
