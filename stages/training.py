"""Training: Keras's `fit`, with each batch cut into parts that are computed in parallel and added in a fixed order."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from stages.network import without_softmax

#: Steps that run before Python is asked for more, which takes time. It changes no result.
STEPS_PER_EXECUTION = 50

#: Where the memory of a tensor must begin: at a multiple of this many bytes. The values of a .npy file do.
TENSOR_ALIGNMENT = 64

Batch = tuple[tf.Tensor, tf.Tensor]


class ShardedModel(keras.Model):
    """A model from features [b, ...] to logits [b, classes] that trains to the same bits on any number of cores.

    A batch is cut into a fixed number of shards. Each shard's gradient is computed by one thread, many shards at a
    time, and the gradients are added in the order of the shards.
    """

    shards: int

    def train_step(self, data: Batch) -> dict[str, Any]:
        """One step of the optimizer on a batch: features [b, ...] and labels [b]."""
        features, labels = data
        length = tf.shape(labels)[0]
        bounds = [length * shard // self.shards for shard in range(self.shards + 1)]
        shards = [self._shard(features[start:stop], labels[start:stop], length) for start, stop in pairwise(bounds)]
        losses, logits, gradients = zip(*shards, strict=True)
        self._update(gradients)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(tf.add_n(losses), sample_weight=length)
            else:
                metric.update_state(labels, tf.concat(logits, 0))
        return {metric.name: metric.result() for metric in self.metrics}

    @tf.function(jit_compile=True)
    def _update(self, gradients: Sequence[Sequence[tf.Tensor]]) -> None:
        """Add the shards' gradients in their order, and let the optimizer change the weights.

        XLA makes one pass over the weights of these ten, in half the time; stages/numerics.py keeps its bits equal.
        """
        self.optimizer.apply([tf.add_n(parts) for parts in zip(*gradients, strict=True)], self.trainable_variables)

    def _shard(self, features: tf.Tensor, labels: tf.Tensor, length: tf.Tensor) -> tuple[Any, Any, list[Any]]:
        """A shard's share in the loss of a batch of `length` images, its logits and gradients. It may be empty."""
        with tf.GradientTape() as tape:
            logits = self(features, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            share = tf.reduce_sum(losses) / tf.cast(length, losses.dtype)
        return share, logits, tape.gradient(share, self.trainable_variables)


def tensor(array: NDArray[Any]) -> tf.Tensor:
    """A tensor on the memory of the array, if TensorFlow can use it there: a mapped .npy file is not copied."""
    if array.size and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def batches(features: tf.Tensor, labels: tf.Tensor, *, batch_size: int, seed: int) -> tf.data.Dataset:
    """Batches in a new order in each epoch: row numbers are shuffled, and each batch is gathered from the tensors."""
    count = len(labels)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, number], alg="philox")
        return tf.data.Dataset.range(0, count, batch_size).map(lambda start: order[start : start + batch_size])

    rows = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1).flat_map(epoch)
    gathered = rows.map(lambda batch: (tf.gather(features, batch), tf.gather(labels, batch)))
    return gathered.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size))).prefetch(8)


def in_order(features: tf.Tensor, labels: tf.Tensor, *, batch_size: int) -> tf.data.Dataset:
    """Batches in the order of the tensors."""
    starts = tf.data.Dataset.range(0, len(labels), batch_size)
    return starts.map(lambda start: (features[start : start + batch_size], labels[start : start + batch_size]))


def train(
    network: keras.Sequential,
    training: Batch,
    validation: Batch | None,
    *,
    optimizer: str,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    shards: int,
    seed: int,
    verbose: int,
) -> Mapping[str, list[float]]:
    """Train `network` in place.

    Args:
        network: a model from features to probabilities.
        training: features, float32 [n, ...], and labels, integers [n].
        validation: the same of the validation split, or None.
        optimizer: a name that Keras knows.
        learning_rate: the optimizer's step.
        epochs: passes over the training set.
        batch_size: images per step.
        shards: parts that each batch is cut into.
        seed: of the order of the images.
        verbose: Keras's: 0 silent, 1 a progress bar, 2 a line per epoch.

    Returns:
        One list per metric, a value per epoch: loss, accuracy, and val_loss, val_accuracy with a validation split.
    """
    logits = without_softmax(network)
    model = ShardedModel(logits.inputs, logits.outputs[0])
    model.shards = shards
    model.compile(
        optimizer=keras.optimizers.get({"class_name": optimizer, "config": {"learning_rate": learning_rate}}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA's bits differ by processor
    )
    model.optimizer.build(model.trainable_variables)  # before `fit`, which would otherwise trace the step twice
    history = model.fit(
        batches(*training, batch_size=batch_size, seed=seed),
        epochs=epochs,
        validation_data=None if validation is None else in_order(*validation, batch_size=batch_size),
        shuffle=False,  # the batches are shuffled already
        verbose=verbose,
    )
    network.set_weights(model.get_weights())
    return {name: [float(value) for value in values] for name, values in history.history.items()}
