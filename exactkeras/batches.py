"""Batches of features and labels, in a new order in each epoch or in their own, from memory or from the disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras import memory
from exactkeras.warp import Warp

#: Iterators that Keras opens in each epoch of a training, and so the numbers that are drawn for one.
ITERATORS = 2

#: Where the memory of a tensor must begin: at a multiple of this many bytes. What `NpyFile` reads does.
TENSOR_ALIGNMENT = 64

#: Features that would fill more than this fraction of the memory are read from the disk, batch by batch.
MOST_HELD = 0.5


class File(Protocol):
    """Features in a file: `digits.data.arrays.NpyFile`, or another like it."""

    shape: tuple[int, ...]  # [n, values]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of all values."""

    def read(self) -> NDArray[Any]:
        """All rows."""

    def take(self, numbers: NDArray[np.integer]) -> NDArray[Any]:
        """The rows of these numbers, in their order. It raises InputError if the file has changed."""

    def blocks(self) -> Iterator[NDArray[Any]]:
        """All rows, some at a time."""


class Stored:
    """Features that stay on disk. The rows of a batch are read when it is formed."""

    def __init__(self, file: File) -> None:
        """Take the file."""
        self.file, self.shape, self.dtype = file, file.shape, file.dtype
        self.problem: InputError | None = None  # of the last batch

    def take(self, numbers: tf.Tensor) -> tf.Tensor:
        """The rows of these numbers, in their order, for the function of a dataset."""
        rows = tf.numpy_function(self._read, [numbers], tf.as_dtype(self.dtype))
        return tf.ensure_shape(rows, (None, *self.shape[1:]))

    def _read(self, numbers: NDArray[np.integer]) -> NDArray[Any]:
        try:
            return self.file.take(numbers)
        except InputError as error:
            self.problem = error  # TensorFlow would say it in words of its own
            raise


Features: TypeAlias = tf.Tensor | Stored
Data: TypeAlias = tuple[Features, tf.Tensor]  # features [n, values] and labels [n]
#: Features [b, values], labels [b], and for each row 1, or 0 for a filler [b].
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def features_of(files: Sequence[File], processes: int = 1) -> list[Features]:
    """Features for batches: in memory as long as all together leave enough of it. This changes no bit of a training.

    Args:
        files: of the splits.
        processes: on this machine that hold as much as this one, with it.
    """
    room, found = MOST_HELD * memory.limit() / processes, list[Features]()
    for file in files:
        held = file.size <= room
        room -= file.size if held else 0
        found.append(tensor(file.read()) if held else Stored(file))
    return found


@contextmanager
def reading(*data: Data | None) -> Iterator[None]:
    """Where batches are used: says in its own words what was wrong with a file."""
    try:
        yield
    except tf.errors.OpError:
        for features in (pair[0] for pair in data if pair is not None):
            if isinstance(features, Stored) and features.problem:
                raise features.problem from None
        raise


def tensor(array: NDArray[Any]) -> tf.Tensor:
    """A tensor on the memory of the array, if TensorFlow can use it there, as it can what NpyFile reads."""
    if array.size and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def filled(features: tf.Tensor, labels: tf.Tensor, rows: int) -> Batch:
    """A batch of exactly `rows` rows: what is missing are rows of zeros, marked as fillers."""
    count = tf.shape(labels)[0]
    missing = [[0, rows - count]]
    real = tf.cast(tf.range(rows) < count, tf.float32)
    features, labels = tf.pad(features, [*missing, [0, 0]]), tf.pad(labels, missing)
    return tf.ensure_shape(features, (rows, features.shape[1])), tf.ensure_shape(labels, (rows,)), real


def batches(
    data: Data, *, batch_size: int, rows: int, seed: int, warp: Warp | None = None, done: int = 0
) -> tf.data.Dataset:
    """Batches in a new order in each epoch: row numbers are shuffled, and the rows of each batch are taken.

    Args:
        data: features, float32 [n, values], in memory or on disk, and labels, integers [n].
        batch_size: images of a batch; the last one may have fewer.
        rows: that each batch is filled up to.
        seed: of the orders and of the augmentation.
        warp: what to do to the features of each batch, if anything.
        done: epochs that an earlier training has done.
    """
    count, take = len(data[1]), _taking(data)

    @tf.autograph.experimental.do_not_convert
    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, number], alg="philox")

        def batch(start: tf.Tensor) -> Batch:
            images, labels = take(order[start : start + batch_size])
            return filled(images if warp is None else warp(images, tf.stack([number, start])), labels, rows)

        return tf.data.Dataset.range(0, count, batch_size).map(batch)

    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    for _ in range(ITERATORS * done):
        next(iter(numbers))
    counted = numbers.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    options = untuned()
    options.threading.private_threadpool_size = 1  # a thread of its own, beside those of the training
    return counted.prefetch(8).with_options(options)


def in_order(data: Data, *, rows: int) -> tf.data.Dataset:
    """Batches in the order of the rows, of at most `rows` of them, filled up to as many as the first one has."""
    count, take = len(data[1]), _taking(data)
    rows = min(rows, count)

    @tf.autograph.experimental.do_not_convert
    def batch(start: tf.Tensor) -> Batch:
        return filled(*take(tf.range(start, tf.minimum(start + rows, count))), rows)

    return tf.data.Dataset.range(0, count, rows).map(batch).with_options(untuned())


def untuned() -> tf.data.Options:
    """Options of a dataset with nothing to tune: the thread that tunes can hold up an epoch for half a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _taking(data: Data) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from the numbers of rows to their features and labels, for the functions of a dataset."""
    features, labels = data
    if isinstance(features, Stored):
        held = wrapped((labels,))
        return lambda numbers: (features.take(numbers), tf.gather(held.get_value()[0], numbers))
    tensors = wrapped(data)
    return lambda numbers: tuple(tf.gather(tensor, numbers) for tensor in tensors.get_value())


def wrapped(data: tuple[tf.Tensor, ...]) -> tf.experimental.Optional:
    """Tensors for a function of a dataset to unwrap by `get_value`.

    When tf.data optimizes its graph, it fills an array as large as each tensor that stands in it: seconds and gigabytes
    for a large data set. It does not look into this.
    """
    return tf.experimental.Optional.from_value(data)
