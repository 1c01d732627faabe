"""Batches of features and labels, from memory or from disk, shuffled in each epoch or in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras.augment import RandomAffine

#: Keras opens two iterators in each epoch of a training. Each of them draws one number, which decides an order.
ITERATORS = 2

#: TensorFlow can use an array in place if its address is a multiple of this many bytes.
TENSOR_ALIGNMENT = 64


class Stored:
    """Features that stay on disk. The rows of a batch are read when it is formed.

    The file needs a `shape` [n, values], a `dtype`, a `size` in bytes, and three methods: `read()` returns all rows,
    `take(numbers)` the rows of these numbers, and `blocks()` yields all rows in blocks. They raise InputError if the
    file has changed.
    """

    def __init__(self, file: Any) -> None:
        self.file, self.shape, self.dtype = file, file.shape, file.dtype
        self.problem: InputError | None = None  # that the last batch raised

    def take(self, numbers: tf.Tensor) -> tf.Tensor:
        """Return the rows of these numbers. For use inside a function of a `tf.data.Dataset`."""
        rows = tf.numpy_function(self._read, [numbers], tf.as_dtype(self.dtype))
        return tf.ensure_shape(rows, (None, *self.shape[1:]))

    def _read(self, numbers: NDArray[np.integer]) -> NDArray[Any]:
        try:
            return self.file.take(numbers)
        except InputError as error:
            self.problem = error  # TensorFlow replaces it by an error of its own
            raise


Features: TypeAlias = tf.Tensor | Stored
Data: TypeAlias = tuple[Features, tf.Tensor]  # features [n, values] and labels [n]
#: Features [b, values], labels [b], and a mark for each row [b]: 1, or 0 for a filler.
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def data_of(splits: Sequence[Any], arrays: Sequence[Future[NDArray[Any]] | None]) -> list[Data]:
    """Return the data of splits, each with `features`, a file, and `labels`.

    `arrays` are the features as `memory.read_ahead` returns them. Features that do not fit into memory stay on disk;
    they give equal bits.
    """
    return [
        (Stored(split.features) if array is None else tensor(array.result()), tf.constant(split.labels))
        for split, array in zip(splits, arrays, strict=True)
    ]


@contextmanager
def reading(*data: Data | None) -> Iterator[None]:
    """Replace TensorFlow's error inside this block by the InputError of the features file that caused it."""
    try:
        yield
    except tf.errors.OpError:
        for features in (pair[0] for pair in data if pair is not None):
            if isinstance(features, Stored) and features.problem:
                raise features.problem from None
        raise


def tensor(array: NDArray[Any]) -> tf.Tensor:
    """Return a tensor that shares the memory of an array if the array is aligned, else a copy."""
    if array.size and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def filled(features: tf.Tensor, labels: tf.Tensor, rows: int) -> Batch:
    """Pad a batch to `rows` rows with zeros. Return it with a mark for each row: 1, or 0 for padding."""
    count = tf.shape(labels)[0]
    missing = [[0, rows - count]]
    real = tf.cast(tf.range(rows) < count, tf.float32)
    features, labels = tf.pad(features, [*missing, [0, 0]]), tf.pad(labels, missing)
    return tf.ensure_shape(features, (rows, features.shape[1])), tf.ensure_shape(labels, (rows,)), real


def batches(
    data: Data, *, batch_size: int, rows: int, seed: int, augment: RandomAffine | None = None, done: int = 0
) -> tf.data.Dataset:
    """Return a dataset of batches, in a new order in each epoch. The seed decides the orders.

    Each batch is filled up to `rows` rows. The first `done` epochs are skipped. Only the numbers of rows are shuffled:
    rows are read when their batch is formed.
    """
    count, take = len(data[1]), _taking(data)

    @tf.autograph.experimental.do_not_convert
    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, number], alg="philox")

        def batch(start: tf.Tensor) -> Batch:
            images, labels = take(order[start : start + batch_size])
            return filled(images if augment is None else augment(images, tf.stack([number, start])), labels, rows)

        return tf.data.Dataset.range(0, count, batch_size).map(batch)

    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    for _ in range(ITERATORS * done):
        next(iter(numbers))
    counted = numbers.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    options = untuned()
    options.threading.private_threadpool_size = 1  # a thread of its own, beside the threads of the training
    return counted.prefetch(8).with_options(options)


def in_order(data: Data, *, rows: int) -> tf.data.Dataset:
    """Return a dataset of batches of `rows` rows in order; the last batch is filled up."""
    count, take = len(data[1]), _taking(data)
    rows = min(rows, count)

    @tf.autograph.experimental.do_not_convert
    def batch(start: tf.Tensor) -> Batch:
        return filled(*take(tf.range(start, tf.minimum(start + rows, count))), rows)

    return tf.data.Dataset.range(0, count, rows).map(batch).with_options(untuned())


def untuned() -> tf.data.Options:
    """Return options that turn autotuning off. Its thread can delay an epoch by half a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _taking(data: Data) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return a function from row numbers to the features and labels of these rows, for use inside a dataset."""
    features, labels = data
    if isinstance(features, Stored):
        held = wrapped((labels,))
        return lambda numbers: (features.take(numbers), tf.gather(held.get_value()[0], numbers))
    tensors = wrapped(data)
    return lambda numbers: tuple(tf.gather(tensor, numbers) for tensor in tensors.get_value())


def wrapped(data: tuple[tf.Tensor, ...]) -> tf.experimental.Optional:
    """Wrap tensors for a function of a dataset. The function unwraps them with `get_value`.

    When tf.data optimizes its graph, it copies each tensor in the graph. For a large data set this takes seconds and
    gigabytes. Wrapped tensors are not copied.
    """
    return tf.experimental.Optional.from_value(data)
