"""Train and predict in the defined arithmetic: Keras's own `fit`, with the layers of `exactkeras.layers`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras import arithmetic
from exactkeras.augment import View, itself
from exactkeras.batches import Batch, Data, batches, filled, in_order, reading
from exactkeras.checkpoint import Checkpoint
from exactkeras.costs import costs_of
from exactkeras.layers import copy_back, defined
from exactkeras.optimizers import OPTIMIZERS
from exactkeras.recipe import Recipe
from exactkeras.replicas import Part, Replicas, compute

#: Training steps that TensorFlow makes before it returns to Python, which takes time. The number changes no result.
STEPS_PER_EXECUTION = 50

#: Bounds of a validation batch: its rows, and the values that its largest layer works on. Other bounds would change the
#: last bits of the mean loss.
VALIDATION_ROWS, VALIDATION_VALUES = 1000, 2**27


class DefinedModel(keras.Model):
    """A model from features [b, values] to logits [b, classes] that trains to the same bits on any processor.

    The rows of a batch are cut into `shards` equal parts. `compute` computes their gradients and adds them in order.
    """

    shards: int
    compute: Callable[[Part, list[Any]], tuple[Any, Any]]

    def train_step(self, data: Batch) -> dict[str, Any]:
        features, labels, real = data
        parts = [tf.split(tensor, self.shards) for tensor in (features, labels, real / tf.reduce_sum(real))]
        (losses, logits), gradients = self.compute(self._part, [*zip(*parts, strict=True)])
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._measured(losses, logits, labels, real)

    @tf.function(autograph=False)  # traced once for all parts
    def _part(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[Any, list[Any]]:
        """Return (weighted losses, logits) of a part, which are joined, and its gradients, which are added."""
        with tf.GradientTape() as tape:
            logits = self(features, training=True)
        losses, upstream = arithmetic.cross_entropy(logits, labels, weights)
        return (losses, logits), tape.gradient(logits, self.trainable_variables, output_gradients=upstream)

    def test_step(self, data: Batch) -> dict[str, Any]:
        features, labels, real = data
        logits = self(features, training=False)
        losses, _ = arithmetic.cross_entropy(logits, labels, real / tf.reduce_sum(real))
        return self._measured(losses, logits, labels, real)

    def _measured(self, losses: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> dict[str, Any]:
        """Return the mean of each metric over the epoch so far.

        Only the losses need `fold`. The accuracy is a mean of ones and zeros, whose sum is exact in any order.
        """
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(arithmetic.fold(losses), sample_weight=tf.reduce_sum(real))
            else:
                metric.update_state(labels, logits, sample_weight=real)
        return {metric.name: metric.result() for metric in self.metrics}


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from zero, and then falls linearly to zero at the last step.

    After L. N. Smith and N. Topin, Super-Convergence (2019). docs/convnet.md shows how much the warm-up helps here.
    """

    def __init__(self, peak: float, steps: int, warmup: float) -> None:
        """Take the highest rate, the number of steps, and the fraction of steps, in [0, 1], in which the rate rises."""
        self.peak, self.steps, rising = peak, steps, max(1.0, warmup * steps)
        # Reciprocals, since TensorFlow turns some but not all divisions by a constant into multiplications.
        self.up, self.down = 1 / rising, 1 / max(0.5, steps - rising)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the learning rate of a step. Steps are counted from 0."""
        taken = tf.cast(step, tf.float32) + 0.5
        return self.peak * tf.minimum(taken * self.up, (self.steps - taken) * self.down)


def rows_at_a_time(network: keras.Sequential, rows: int, values: int) -> int:
    """Return the most rows, up to `rows`, with which the largest layer works on at most `values` values; at least 1."""
    return max(1, min(rows, values // max(cost.values for cost in costs_of(network.layers, network.input_shape))))


def validation_rows(network: keras.Sequential) -> int:
    """Return the number of rows of a validation batch."""
    return rows_at_a_time(network, VALIDATION_ROWS, VALIDATION_VALUES)


def fit(
    network: keras.Sequential,
    training: Data,
    validation: Data | None,
    recipe: Recipe,
    *,
    verbose: int,
    checkpoint: Checkpoint | None = None,
    replicas: Replicas | None = None,
) -> Mapping[str, list[float]]:
    """Train `network`, which maps features to probabilities, in place.

    Args:
        training, validation: features, float32 [n, values], in memory or on disk, and labels, integers [n].
        verbose: as in Keras: 0 is silent, 1 shows a progress bar, 2 prints a line per epoch.
        checkpoint: the file to continue from, if it exists, and to write after each epoch.
        replicas: the workers or devices that share each batch; None: one device. Only the first worker measures the
            validation split, prints and writes the checkpoint.

    Returns:
        A list for each metric, with a value per epoch: loss and accuracy; with a validation split also val_loss and
        val_accuracy.

    Raises:
        InputError: the network has no defined arithmetic, the data do not fit the network or cannot be read, or the
            training diverged.
    """
    layers = defined(network)
    require_data(network, training, "training")
    if replicas and replicas.worker:
        validation, checkpoint, verbose = None, None, 0
    if validation is not None:
        require_data(network, validation, "validation")
    count = len(training[1])
    batch_size = min(recipe.batch_size, count)
    model = _compiled(network, layers, recipe, replicas, steps=recipe.epochs * -(-count // batch_size))
    # All variables must exist before Keras's `fit`, which would otherwise trace the step twice.
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(None, training[1][:1], tf.zeros((1, model.output_shape[-1])))
    state = [*model.weights, *model.optimizer.variables]
    history = checkpoint.restore(state) if checkpoint else {}
    done = len(history.get("loss", []))
    if replicas:
        done = replicas.start_alike(state, done)

    rows = arithmetic.rounded_up(batch_size, recipe.shards)
    with reading(training, validation):
        model.fit(
            batches(training, batch_size=batch_size, rows=rows, seed=recipe.seed, augment=recipe.augment, done=done),
            epochs=recipe.epochs,
            initial_epoch=done,
            validation_data=None if validation is None else in_order(validation, rows=validation_rows(network)),
            shuffle=False,  # the batches are shuffled already
            verbose=verbose,
            callbacks=[_each_epoch(history, state, checkpoint)],
        )
    copy_back(layers, network)
    return history


def require_data(network: keras.Sequential, data: Data, name: str) -> None:
    """Raise InputError unless there are rows, one label for each row, and every label is a class of the network."""
    (features, labels), classes = data, network.output_shape[-1]
    count = len(labels)
    if count != features.shape[0] or not count:
        received = f"{features.shape[0]} features and {count} labels"
        raise InputError(f"{name} data", f"{received}", hint="Give one label for each row, and at least one row.")
    if not tf.as_dtype(labels.dtype).is_integer:
        raise InputError(f"{name} labels", f"their type is {labels.dtype.name}", hint="Give integers.")
    for label in (int(tf.reduce_min(labels)), int(tf.reduce_max(labels))):
        if not 0 <= label < classes:
            hint = "Number the classes from 0, or give the network more outputs."
            raise InputError(f"{name} labels", expected=f"0 to {classes - 1}", received=str(label), hint=hint)


def _each_epoch(
    history: dict[str, list[float]], state: list[tf.Variable], checkpoint: Checkpoint | None
) -> keras.callbacks.Callback:
    """Return a callback that, after each epoch, adds its metrics to `history` and writes the checkpoint."""

    def finished(epoch: int, logs: Mapping[str, float]) -> None:
        for name, value in logs.items():
            if not math.isfinite(value):
                raise InputError(
                    f"{name} of epoch {epoch + 1}",
                    f"it is {value}",
                    hint="Check that every feature is finite, and lower the learning rate.",
                )
            history.setdefault(name, []).append(float(value))
        if checkpoint:
            checkpoint.write(state, history)

    return keras.callbacks.LambdaCallback(on_epoch_end=finished)


def _compiled(
    network: keras.Sequential, layers: list[keras.layers.Layer], recipe: Recipe, replicas: Replicas | None, steps: int
) -> DefinedModel:
    """Return the compiled model that is trained. It consists of `layers`, which have the weights of `network`."""
    rate = recipe.learning_rate
    schedule = rate if recipe.warmup is None else WarmupLinearDecay(rate, steps, recipe.warmup)
    chain = keras.Sequential([keras.Input(network.input_shape[1:]), *layers])
    model = DefinedModel(chain.inputs, chain.outputs[0])
    model.shards = recipe.shards
    model.compute = replicas.compute if replicas else compute
    model.compile(
        optimizer=OPTIMIZERS[recipe.optimizer](learning_rate=schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],  # fillers do not count
        # TensorFlow's loop of several steps cannot contain a distribution strategy.
        steps_per_execution=1 if replicas else STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA fuses multiplications and additions
    )
    return model


def log_probabilities(
    network: keras.Sequential, rows: int, views: Sequence[View] = (itself,)
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a function from at most `rows` rows of features, [n, values], to log-probabilities, [n, classes].

    The function raises InputError if a log-probability is not finite. The logits of an image are averaged over `views`.
    """
    layers = defined(network)

    def logits(values: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            values = layer(values)
        return values

    @tf.function(autograph=False)  # no branch depends on a tensor, and the conversion takes longer than the tracing
    def forward(features: tf.Tensor) -> tf.Tensor:
        mean = arithmetic.in_order([logits(view(features)) for view in views]) * (1 / len(views))
        return tf.transpose(arithmetic.log_softmax(mean)[0])

    def predict(features: NDArray[Any]) -> NDArray[Any]:
        values, _, _ = filled(tf.constant(features), tf.zeros(len(features), tf.int32), rows)
        logarithms = forward(values).numpy()[: len(features)]
        if not np.isfinite(logarithms).all():  # products of finite weights may be infinite
            hint = "Train it again with a lower learning rate."
            raise InputError("the model", "its probabilities are not finite, as its weights are too large", hint=hint)
        return logarithms

    return predict
