"""Batches: every row once an epoch, equal shapes, and features used where they are, in memory or on disk."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.measure import peak_bytes
from digits.data.npy import NpyFile
from tests.support.memory import linux_only


@pytest.fixture(autouse=True)
def tf(tensorflow: Any) -> Any:
    return tensorflow


def file_of(path: Path, features: Any) -> NpyFile:
    np.save(path, features)
    return NpyFile(path, dtype="float32", shape=(None, features.shape[1]))


def test_batches_in_order_hold_every_row(tf: Any) -> None:
    from exactkeras.batches import in_order

    dataset = in_order((tf.range(10)[:, None], tf.range(10, 20)), rows=4)
    found = [[part.numpy().ravel().tolist() for part in batch] for batch in dataset]
    assert [rows for rows, _, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]
    assert [labels for _, labels, _ in found] == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 0, 0]]
    assert [real for _, _, real in found] == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]


def test_an_aligned_array_is_used_where_it_is_and_another_is_copied() -> None:
    from exactkeras.batches import tensor

    room = np.zeros(2**12, np.float32)
    start = (-room.ctypes.data // 4) % 16  # at a multiple of 64 bytes
    used, copied = (tensor(room[start + offset :][:50].reshape(5, 10)) for offset in (0, 101))
    room[:] = 1
    assert np.all(used)
    assert not np.any(copied)


@pytest.mark.parametrize(
    ("memory", "processes", "held"),
    [
        (1.9, 1, [False, False]),
        (3.9, 1, [True, False]),
        (4.1, 1, [True, True]),
        (4.1, 2, [True, False]),
        (8.1, 2, [True, True]),
        (4.1, 3, [False, False]),
    ],
)
def test_features_of_all_splits_fill_at_most_half_the_memory(
    memory: float, processes: int, held: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exactkeras.batches import Stored, data_of
    from exactkeras.memory import read_ahead

    values = np.random.default_rng(0).random((30, 784), np.float32)
    split = SimpleNamespace(features=file_of(tmp_path / "features.npy", values), labels=np.arange(30))
    monkeypatch.setattr("exactkeras.memory.limit", lambda: int(memory * values.nbytes))
    found = [features for features, _ in data_of([split] * 2, read_ahead([split.features] * 2, processes))]
    assert [not isinstance(features, Stored) for features in found] == held
    for features in found:
        np.testing.assert_array_equal(features.file.read() if isinstance(features, Stored) else features, values)


def peak_of_first_batch(dataset: Any) -> int:
    """Return the peak of additional bytes while this process makes an iterator and a batch."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again: proc(5)
    except OSError:
        pytest.skip("this system does not start the peak again")
    held = peak_bytes()
    next(iter(dataset))
    return peak_bytes() - held


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
    # The negative control: tensors that are constants in the dataset's graph.
    monkeypatch.setattr(batches, "wrapped", lambda data: SimpleNamespace(get_value=lambda: data))
    assert peak() > size / 2
