"""Training: shards added in order, batches of every image, the schedule of the rate; in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.parts import peak_bytes
from digits.data.arrays import NpyFile
from digits.data.splits import to_features
from dvcproof.runtime.program import InputError
from exactkeras.recipe import Recipe
from exactkeras.warp import Warp
from tests.support.memory import linux_only
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import Arrays

Data = tuple[Any, Any]


@pytest.fixture(autouse=True)
def tf(tensorflow: Any) -> Any:
    """TensorFlow, with the same seed for each test."""
    import keras

    keras.utils.set_random_seed(0)
    return tensorflow


@pytest.fixture
def batch(tf: Any, digits: Arrays) -> Data:
    """Features [600, 784] and labels [600] of the small sample."""
    return tf.constant(to_features(digits["x_train"].astype(np.uint8))), tf.constant(digits["y_train"].astype(np.int32))


def train(batch: Data, model: Any, validation: Data | None = None, **changes: Any) -> Any:
    """The history of a training with four shards for one epoch."""
    from exactkeras.fit import fit

    recipe = Recipe("rmsprop", 0.001, epochs=1, batch_size=128, shards=4, seed=0)
    return fit(model, batch, validation, recipe._replace(**changes), verbose=0)


def small(units: int = 16) -> Any:
    """A new dense network for ten classes."""
    return dense(units=units).build((28, 28), 10)


def weights(model: Any) -> bytes:
    return b"".join(array.tobytes() for array in model.get_weights())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_training_learns(batch: Data, optimizer: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.001
    history = train(batch, small(64), optimizer=optimizer, learning_rate=rate, epochs=5)
    assert set(history) == {"loss", "accuracy"}
    assert len(history["loss"]) == 5
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert history["accuracy"][-1] > 0.6


@pytest.mark.slow
def test_the_convnet_learns(batch: Data) -> None:
    model = convnet().build((28, 28), 10)
    history = train(batch, model, optimizer="adam", learning_rate=0.003, epochs=6, batch_size=32)
    assert history["accuracy"][-1] > 0.7


def test_a_step_equals_the_step_of_plain_keras(batch: Data) -> None:
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


def test_equal_seeds_give_equal_bits_and_others_do_not(batch: Data) -> None:
    def trained(seed: int) -> bytes:
        import keras

        keras.utils.set_random_seed(seed)
        model = small()
        train(batch, model, seed=seed)
        return weights(model)

    assert trained(1) == trained(1) != trained(2)


@pytest.mark.slow
def test_the_order_of_adding_the_shards_counts(batch: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from exactkeras import arithmetic, replicas

    features = batch[0][:, 200:368]  # so few that every product is a single chain: nothing else is added in order

    def trained() -> bytes:
        import keras

        keras.utils.set_random_seed(0)
        model = dense().build((12, 14), 10)
        train((features, batch[1]), model, shards=4)
        return weights(model)

    in_order = arithmetic.in_order
    expected = trained()
    assert trained() == expected
    monkeypatch.setattr(replicas, "in_order", lambda terms: in_order(terms[::-1]))
    assert trained() != expected


def test_what_was_read_is_not_copied_and_no_file_changed(tmp_path: Path) -> None:
    from exactkeras.batches import tensor

    values = np.random.default_rng(0).random((10, 784), np.float32)
    np.save(tmp_path / "features.npy", values)
    whole = NpyFile(tmp_path / "features.npy", dtype="float32", shape=(None, 784)).read()
    made = tensor(whole)
    np.testing.assert_array_equal(made, values)
    whole[3] = 7
    assert made[3, 0] == 7  # the same memory
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), values)


@pytest.mark.parametrize("rows", [0, 5])
def test_an_array_that_cannot_be_used_in_place_is_copied(tf: Any, rows: int) -> None:
    from exactkeras.batches import tensor

    room = np.zeros(2**12, np.float32)
    start = 1 + (-room.ctypes.data // 4) % 16  # four bytes beyond a multiple of 64
    array = room[start : start + 10 * rows].reshape(rows, 10)
    made = tensor(array)
    array[:] = 1
    assert made.shape == (rows, 10)
    assert float(tf.reduce_sum(made)) == 0


def test_batches_in_order_hold_every_row(tf: Any) -> None:
    from exactkeras.batches import in_order

    dataset = in_order((tf.range(10)[:, None], tf.range(10, 20)), rows=4)
    found = [[part.numpy().ravel().tolist() for part in batch] for batch in dataset]
    assert [rows for rows, _, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]
    assert found[-1][1:] == [[18, 19, 0, 0], [1, 1, 0, 0]]
    assert len(dataset) == 3


def test_a_set_of_fewer_rows_is_one_batch_without_fillers(tf: Any) -> None:
    from exactkeras.batches import in_order

    (only,) = in_order((tf.zeros((5, 2)), tf.range(5)), rows=1000)
    assert [part.shape.as_list() for part in only] == [[5, 2], [5], [5]]
    assert float(tf.reduce_sum(only[2])) == 5


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_batch_is_filled_up_with_zeros(tf: Any, count: int) -> None:
    from exactkeras.batches import filled

    features, labels, real = filled(tf.ones((count, 3)), tf.ones(count, tf.int32), 4)
    expected = [1] * count + [0] * (4 - count)
    assert features.numpy().tolist() == [[one] * 3 for one in expected]
    assert labels.numpy().tolist() == real.numpy().tolist() == expected


def test_every_batch_has_the_same_shape(tf: Any) -> None:
    """The last one too: its rows are filled up to those of the others."""
    from exactkeras.batches import batches

    dataset = batches((tf.ones((11, 3)), tf.zeros(11, tf.int32)), batch_size=4, rows=6, seed=0)
    assert [part.shape.as_list() for part in dataset.element_spec] == [[6, 3], [6], [6]]
    assert [int(tf.reduce_sum(real)) for _, _, real in dataset] == [4, 4, 3]


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
    """Tensors that stand in the dataset's graph, as they would without `batches.wrapped`."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def get_value(self) -> Data:
        return self.data


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("kind", ["batches", "in_order"])
def test_an_iterator_holds_no_second_copy_of_the_features(
    kind: str, tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exactkeras import batches

    rows, size = 100_000, 100_000 * 784 * 4
    np.lib.format.open_memmap(tmp_path / "features.npy", "w+", np.float32, (rows, 784))  # a hole: no disk is used
    features = batches.tensor(NpyFile(tmp_path / "features.npy", dtype="float32", shape=(None, 784)).read())
    assert float(tf.reduce_sum(features)) == 0  # from here on, all of them are in memory
    options = {"rows": 128} | ({"batch_size": 128, "seed": 0} if kind == "batches" else {})

    def peak() -> int:
        return peak_of_first_batch(getattr(batches, kind)((features, tf.zeros(rows, tf.int32)), **options))

    assert peak() < size / 4
    monkeypatch.setattr(batches, "wrapped", Bare)
    assert peak() > size / 2  # so the measure notices it


def stored(folder: Path, features: Any) -> Any:
    """The same features, on disk."""
    from exactkeras.batches import Stored

    np.save(folder / "features.npy", features)
    return Stored(NpyFile(folder / "features.npy", dtype="float32", shape=(None, 784)))


@pytest.mark.slow
@pytest.mark.parametrize("network", [dense, convnet])
def test_features_on_disk_train_to_the_same_bits(network: Any, batch: Data, tmp_path: Path) -> None:
    """With a validation split that is on disk too, and a last batch that is shorter."""
    import keras

    def trained(training: Data, validation: Data) -> Any:
        keras.utils.set_random_seed(0)
        model = network().build((28, 28), 10)
        section = network(epochs=2, batch_size=50)
        recipe = section.recipe(TRAIN, (28, 28))
        return train(training, model, validation, **recipe._asdict()), weights(model)

    held, more = ((part[0][rows], part[1][rows]) for part, rows in ((batch, slice(330)), (batch, slice(330, 350))))
    (tmp_path / "more").mkdir()
    on_disk = (stored(tmp_path, held[0]), held[1]), (stored(tmp_path / "more", more[0]), more[1])
    expected = trained(held, more)
    assert trained(*on_disk) == expected
    assert trained((stored(tmp_path, held[0][::-1]), held[1]), more) != expected


@pytest.mark.slow
def test_a_file_that_is_cut_short_in_training_is_named(batch: Data, tmp_path: Path) -> None:
    features = stored(tmp_path, batch[0])
    with (tmp_path / "features.npy").open("r+b") as file:
        file.truncate(10_000)
    with pytest.raises(InputError, match=r"features\.npy: expected float32 .* Got a file that ends \d+ bytes early"):
        train((features, batch[1]), small())


@pytest.mark.parametrize(
    ("memory", "processes", "held"),
    [
        (1.9, 1, [False, False]),
        (2.1, 1, [True, False]),
        (3.9, 1, [True, False]),
        (4.1, 1, [True, True]),
        (4.1, 2, [True, False]),
        (8.1, 2, [True, True]),
        (4.1, 3, [False, False]),
    ],
)
def test_features_of_all_splits_fill_at_most_half_the_memory(  # noqa: PLR0917
    memory: float, processes: int, held: list[bool], batch: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exactkeras.batches import Stored, features_of

    file = stored(tmp_path, batch[0]).file
    monkeypatch.setattr("exactkeras.memory.limit", lambda: int(memory * file.size))
    found = features_of([file, file], processes)
    assert [not isinstance(features, Stored) for features in found] == held
    for features in found:
        np.testing.assert_array_equal(features.file.read() if isinstance(features, Stored) else features, batch[0])


def test_no_thread_tunes_a_dataset(tf: Any) -> None:
    from exactkeras.batches import batches, in_order

    data = (tf.range(10)[:, None], tf.range(10))
    for dataset in (batches(data, batch_size=4, rows=4, seed=0), in_order(data, rows=4)):
        assert dataset.options().autotune.enabled is False
    assert tf.data.Dataset.range(10).options().autotune.enabled is not False  # TensorFlow's own choice


@pytest.mark.fast(1)
@pytest.mark.parametrize(("count", "batch_size", "shards"), [(600, 128, 4), (5, 4, 4), (3, 8, 16), (1, 1, 1)])
def test_every_image_counts_once_an_epoch(tf: Any, batch: Data, count: int, batch_size: int, shards: int) -> None:
    from exactkeras.batches import batches

    seen: list[int] = []
    dataset = batches((tf.range(count)[:, None], batch[1][:count]), batch_size=batch_size, rows=batch_size, seed=0)
    for rows, _, real in dataset:
        seen += rows.numpy()[real.numpy() == 1, 0].tolist()
    assert sorted(seen) == list(range(count))
    history = train((batch[0][:count], batch[1][:count]), small(), batch_size=batch_size, shards=shards)
    right = history["accuracy"][0] * count
    assert right == pytest.approx(round(right), abs=1e-3)
    assert np.isfinite(history["loss"][0])


def test_each_epoch_has_another_order(tf: Any) -> None:
    from exactkeras.batches import batches

    dataset = batches((tf.range(100)[:, None], tf.range(100)), batch_size=100, rows=100, seed=0)
    first, second = (next(iter(dataset))[1].numpy().tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(100))


def test_the_loss_is_the_mean_over_all_images(batch: Data) -> None:
    features, labels = batch[0][:100], batch[1][:100]
    model = small()
    expected = -np.log(model(features).numpy())[np.arange(100), labels.numpy()].mean()
    history = train((features, labels), model, batch_size=30, optimizer="sgd", learning_rate=1e-9)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_fillers_count_neither_in_loss_nor_in_accuracy(batch: Data) -> None:
    """Zeros of class 0, which the network gets right: they would raise the accuracy."""
    import keras

    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(2, "softmax", bias_initializer="zeros")])
    model.set_weights([np.zeros((784, 2), np.float32), np.array([1, 0], np.float32)])
    features, labels = batch[0][:5] * 0, np.ones(5, np.int32)
    history = train((features, labels), model, (features, labels), batch_size=5, shards=4, learning_rate=1e-9)
    for name in ("loss", "val_loss"):
        assert history[name] == [pytest.approx(np.log1p(np.e), rel=1e-6)]
    assert history["accuracy"] == history["val_accuracy"] == [0]


@pytest.mark.slow
def test_a_validation_split_has_its_own_history(batch: Data) -> None:
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
    from exactkeras.fit import WarmupLinearDecay

    schedule = WarmupLinearDecay(1.0, steps, warmup)
    assert [float(schedule(tf.constant(step))) for step in range(steps)] == pytest.approx(rates)


@pytest.mark.slow
def test_the_rate_of_each_step_reaches_the_optimizer(batch: Data) -> None:
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


def test_every_warped_image_keeps_its_label(tf: Any, batch: Data) -> None:
    """As many bright pixels in the middle as the label says tens of: a small warp hardly changes their sum."""
    from exactkeras.batches import batches

    labels = batch[1][:100]
    bright = tf.cast(tf.range(784)[None, :] - 380 < 10 * (labels[:, None] + 1), tf.float32)
    features = bright * tf.cast(tf.range(784)[None, :] >= 380, tf.float32)
    seen = 0
    warp = Warp(28, 28, 1, 0.01)
    for rows, found, real in batches((features, labels), batch_size=40, rows=40, seed=0, warp=warp):
        expected = 10 * (found.numpy() + 1) * real.numpy()
        np.testing.assert_allclose(tf.reduce_sum(rows, 1), expected, rtol=0.3, atol=3)
        seen += int(tf.reduce_sum(real))
    assert seen == 100


def test_an_image_is_warped_differently_in_every_epoch(batch: Data) -> None:
    from exactkeras.batches import batches

    data = (batch[0][:100], batch[1][:100])
    dataset = batches(data, batch_size=100, rows=100, seed=0, warp=Warp(28, 28, 1, 0.1))
    first, second, third = ({bytes(row) for row in next(iter(dataset))[0].numpy()} for _ in range(3))
    assert len(first) == len(second) == 100
    assert first.isdisjoint(second)
    assert third.isdisjoint(first | second)


@pytest.mark.slow
def test_the_warp_of_the_recipe_reaches_the_training(batch: Data) -> None:
    start, plain, warped = small(), small(), small()
    for model, warp in ((plain, None), (warped, Warp(28, 28, 1, 0.1))):
        model.set_weights(start.get_weights())
        train(batch, model, warp=warp)
    assert weights(plain) != weights(warped)


@pytest.mark.parametrize("network", [dense, convnet])
def test_log_probabilities_are_those_of_keras(network: Any, batch: Data) -> None:
    from exactkeras.fit import log_probabilities

    model = network().build((28, 28), 10)
    found = log_probabilities(model, 33)(batch[0][:33].numpy())
    np.testing.assert_allclose(found, np.log(model(batch[0][:33])), atol=1e-5)


def test_rows_that_are_predicted_together_change_no_bit(batch: Data) -> None:
    from exactkeras.fit import log_probabilities

    model, features = small(), batch[0][:50].numpy()
    together = log_probabilities(model, 50)(features)
    one_by_one = log_probabilities(model, 1)
    for rows in (50, 51, 200):
        np.testing.assert_array_equal(log_probabilities(model, rows)(features[:7]), together[:7])
    np.testing.assert_array_equal(np.concatenate([one_by_one(features[k : k + 1]) for k in range(50)]), together)
