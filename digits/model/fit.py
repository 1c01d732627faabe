"""Training: Keras's `fit`, with each batch cut into parts that are computed in parallel and added in a fixed order."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from digits.model.archive import without_softmax
from digits.model.networks import Recipe
from digits.model.warp import Warp

#: Steps that run before Python is asked for more, which takes time. It changes no result.
STEPS_PER_EXECUTION = 50

#: Where the memory of a tensor must begin: at a multiple of this many bytes. The values of a .npy file do.
TENSOR_ALIGNMENT = 64

Batch = tuple[tf.Tensor, tf.Tensor]


class ShardedModel(keras.Model):
    """A model from features [b, ...] to logits [b, classes] that trains to the same bits on any number of cores.

    A batch is cut into a fixed number of shards. Each shard's gradient is computed by one thread, several shards at a
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

    @tf.function(jit_compile=True, autograph=False)
    def _update(self, gradients: Sequence[Sequence[tf.Tensor]]) -> None:
        """Add the shards' gradients in their order, and let the optimizer change the weights.

        XLA makes one pass over the weights of these ten, in half the time; `determinism` keeps its bits equal.
        """
        self.optimizer.apply([tf.add_n(parts) for parts in zip(*gradients, strict=True)], self.trainable_variables)

    def _shard(self, features: tf.Tensor, labels: tf.Tensor, length: tf.Tensor) -> tuple[Any, Any, list[Any]]:
        """A shard's share in the loss of a batch of `length` images, its logits and gradients. It may be empty."""
        with tf.GradientTape() as tape:
            logits = self(features, training=True)
            targets = tf.one_hot(labels, logits.shape[-1])  # equal bits, in 40 operations less than with sparse labels
            losses = keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
            share = tf.reduce_sum(losses) / tf.cast(length, losses.dtype)
        return share, logits, tape.gradient(share, self.trainable_variables)


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from zero, and then falls linearly to zero at the last step.

    After L. N. Smith and N. Topin, Super-Convergence (2019). What the warm-up is worth here: docs/convnet.md.
    """

    def __init__(self, peak: float, steps: int, warmup: float) -> None:
        """Take the highest rate, the number of steps, and the fraction of them, in [0, 1], in which it rises."""
        self.peak, self.steps, self.rising = peak, steps, max(1.0, warmup * steps)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The rate of a step, counted from 0."""
        taken = tf.cast(step, tf.float32) + 0.5
        return self.peak * tf.minimum(taken / self.rising, (self.steps - taken) / max(0.5, self.steps - self.rising))


def tensor(array: NDArray[Any]) -> tf.Tensor:
    """A tensor on the memory of the array, if TensorFlow can use it there: a mapped .npy file is not copied."""
    if array.size and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


def batches(
    features: tf.Tensor, labels: tf.Tensor, *, batch_size: int, seed: int, warp: Warp | None = None
) -> tf.data.Dataset:
    """Batches in a new order in each epoch: row numbers are shuffled, and each batch is gathered from the tensors.

    Args:
        features: float32 [n, ...].
        labels: integers [n].
        batch_size: rows of a batch; the last one may have fewer.
        seed: of the orders and of the augmentation.
        warp: what to do to the features of each batch, if anything.
    """
    count, data = len(labels), wrapped(features, labels)

    @tf.autograph.experimental.do_not_convert
    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[seed, number], alg="philox")

        def batch(start: tf.Tensor) -> Batch:
            rows = order[start : start + batch_size]
            images, targets = (tf.gather(tensor, rows) for tensor in data.get_value())
            return images if warp is None else warp(images, tf.stack([number, start])), targets

        return tf.data.Dataset.range(0, count, batch_size).map(batch)

    epochs = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1).flat_map(epoch)
    counted = epochs.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    options = untuned()
    options.threading.private_threadpool_size = 1  # a thread of its own, beside those of the training
    return counted.prefetch(8).with_options(options)


def in_order(features: tf.Tensor, labels: tf.Tensor, *, batch_size: int) -> tf.data.Dataset:
    """Batches in the order of the tensors."""
    data = wrapped(features, labels)

    @tf.autograph.experimental.do_not_convert
    def batch(start: tf.Tensor) -> Batch:
        images, targets = (tensor[start : start + batch_size] for tensor in data.get_value())
        return images, targets

    return tf.data.Dataset.range(0, len(labels), batch_size).map(batch).with_options(untuned())


def untuned() -> tf.data.Options:
    """Options of a dataset with nothing to tune: the thread that tunes can hold up an epoch for half a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def wrapped(features: tf.Tensor, labels: tf.Tensor) -> tf.experimental.Optional:
    """Tensors for a function of a dataset to unwrap by `get_value`.

    When tf.data optimizes its graph, it fills an array as large as each tensor that stands in it: seconds and gigabytes
    for a large data set. It does not look into this.
    """
    return tf.experimental.Optional.from_value((features, labels))


def fit(
    network: keras.Sequential, training: Batch, validation: Batch | None, recipe: Recipe, *, verbose: int
) -> Mapping[str, list[float]]:
    """Train `network` in place.

    Args:
        network: a model from features to probabilities.
        training: features, float32 [n, ...], and labels, integers [n].
        validation: the same of the validation split, or None.
        recipe: how.
        verbose: Keras's: 0 silent, 1 a progress bar, 2 a line per epoch.

    Returns:
        One list per metric, a value per epoch: loss, accuracy, and val_loss, val_accuracy with a validation split.
    """
    steps = recipe.epochs * -(-len(training[1]) // recipe.batch_size)
    model = _compiled(network, recipe, steps)
    # All variables must exist before `fit`, which would otherwise trace the step twice.
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(None, training[1][:1], tf.zeros((1, model.output_shape[-1])))
    history = model.fit(
        batches(*training, batch_size=recipe.batch_size, seed=recipe.seed, warp=recipe.warp),
        epochs=recipe.epochs,
        validation_data=None if validation is None else in_order(*validation, batch_size=recipe.batch_size),
        shuffle=False,  # the batches are shuffled already
        verbose=verbose,
    )
    network.set_weights(model.get_weights())
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def _compiled(network: keras.Sequential, recipe: Recipe, steps: int) -> ShardedModel:
    """The model that is trained: a copy of `network` that ends in logits."""
    rate = recipe.learning_rate
    schedule = rate if recipe.warmup is None else WarmupLinearDecay(rate, steps, recipe.warmup)
    logits = without_softmax(network)
    model = ShardedModel(logits.inputs, logits.outputs[0])
    model.shards = recipe.shards
    model.compile(
        optimizer=keras.optimizers.get({"class_name": recipe.optimizer, "config": {"learning_rate": schedule}}),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA's bits differ by processor
    )
    return model
