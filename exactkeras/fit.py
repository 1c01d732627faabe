"""Training and prediction in the defined arithmetic: Keras's `fit`, on the layers of `exactkeras.layers`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras import arithmetic
from exactkeras.batches import Batch, Data, batches, filled, in_order, reading
from exactkeras.checkpoint import Checkpoint
from exactkeras.description import costs_of
from exactkeras.layers import copy_back, defined
from exactkeras.optimizers import OPTIMIZERS
from exactkeras.recipe import Recipe
from exactkeras.replicas import Part, Replicas, compute
from exactkeras.warp import View, itself

#: Steps that run before Python is asked for more, which takes time. It changes no result.
STEPS_PER_EXECUTION = 50

#: Rows of a validation batch, and values that its largest layer works on: fewer rows if images or network are large.
#: It changes the last bits of the mean loss.
VALIDATION_ROWS, VALIDATION_VALUES = 1000, 2**27


class DefinedModel(keras.Model):
    """A model from features [b, values] to logits [b, classes] that trains to the same bits on any processor.

    A batch's rows are cut into `shards` equal parts, in their order; a batch is filled up with zero rows first if their
    number does not divide it. The gradients of each part are computed by themselves, several parts at a time, and then
    added in the order of the parts. `compute` says who computes which part.
    """

    shards: int
    compute: Callable[[Part, list[Any]], tuple[Any, Any]]

    def train_step(self, data: Batch) -> dict[str, Any]:
        """One step of the optimizer on a batch."""
        features, labels, real = data
        parts = [tf.split(tensor, self.shards) for tensor in (features, labels, real / tf.reduce_sum(real))]
        (losses, logits), gradients = self.compute(self._part, [*zip(*parts, strict=True)])
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._measured(losses, logits, labels, real)

    @tf.function(autograph=False)  # traced once for all parts
    def _part(self, features: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[Any, list[Any]]:
        """A part's weighted losses and logits; and its gradients, which are to be added."""
        with tf.GradientTape() as tape:
            logits = self(features, training=True)
        losses, upstream = arithmetic.cross_entropy(logits, labels, weights)
        return (losses, logits), tape.gradient(logits, self.trainable_variables, output_gradients=upstream)

    def test_step(self, data: Batch) -> dict[str, Any]:
        """Loss and accuracy of a batch, as in `train_step`."""
        features, labels, real = data
        logits = self(features, training=False)
        losses, _ = arithmetic.cross_entropy(logits, labels, real / tf.reduce_sum(real))
        return self._measured(losses, logits, labels, real)

    def _measured(self, losses: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> dict[str, Any]:
        """Means over the epoch so far. Sums of ones and zeros are exact in any order."""
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(arithmetic.fold(losses), sample_weight=tf.reduce_sum(real))
            else:
                metric.update_state(labels, logits, sample_weight=real)
        return {metric.name: metric.result() for metric in self.metrics}


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from zero, and then falls linearly to zero at the last step.

    After L. N. Smith and N. Topin, Super-Convergence (2019). What the warm-up is worth here: docs/convnet.md.
    """

    def __init__(self, peak: float, steps: int, warmup: float) -> None:
        """Take the highest rate, the number of steps, and the fraction of them, in [0, 1], in which it rises."""
        self.peak, self.steps, rising = peak, steps, max(1.0, warmup * steps)
        # Reciprocals: TensorFlow turns a division by a constant into a multiplication, but not always.
        self.up, self.down = 1 / rising, 1 / max(0.5, steps - rising)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The rate of a step, counted from 0."""
        taken = tf.cast(step, tf.float32) + 0.5
        return self.peak * tf.minimum(taken * self.up, (self.steps - taken) * self.down)


def rows_at_a_time(network: keras.Sequential, rows: int, values: int) -> int:
    """At most so many rows, and so few that the largest layer works on at most so many values."""
    return max(1, min(rows, values // max(cost.values for cost in costs_of(network))))


def validation_rows(network: keras.Sequential) -> int:
    """Rows of a validation batch."""
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
    """Train `network` in place.

    Args:
        network: a model from features to probabilities.
        training: features, float32 [n, values], in memory or on disk, and labels, integers [n].
        validation: the same of the validation split, or None.
        recipe: how.
        verbose: Keras's: 0 silent, 1 a progress bar, 2 a line per epoch.
        checkpoint: to go on from, and to write after each epoch.
        replicas: who computes the parts of each batch; None: this process alone. All start as the first of them.

    Returns:
        One list per metric, a value per epoch: loss, accuracy, and val_loss, val_accuracy with a validation split.

    Raises:
        InputError: features on disk could not be read.
    """
    count = len(training[1])
    batch_size = min(recipe.batch_size, count)
    layers = defined(network)
    model = _compiled(network, layers, recipe, replicas, steps=recipe.epochs * -(-count // batch_size))
    # All variables must exist before `fit`, which would otherwise trace the step twice.
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
            batches(training, batch_size=batch_size, rows=rows, seed=recipe.seed, warp=recipe.warp, done=done),
            epochs=recipe.epochs,
            initial_epoch=done,
            validation_data=None if validation is None else in_order(validation, rows=validation_rows(network)),
            shuffle=False,  # the batches are shuffled already
            verbose=verbose,
            callbacks=[_each_epoch(history, state, checkpoint)],
        )
    copy_back(layers, network)
    return history


def _each_epoch(
    history: dict[str, list[float]], state: list[tf.Variable], checkpoint: Checkpoint | None
) -> keras.callbacks.Callback:
    """After each epoch, put its metrics into the history, and both into the checkpoint."""

    def finished(epoch: int, logs: Mapping[str, float]) -> None:  # noqa: ARG001 (Keras's form)
        for name, value in logs.items():
            history.setdefault(name, []).append(float(value))
        if checkpoint:
            checkpoint.write(state, history)

    return keras.callbacks.LambdaCallback(on_epoch_end=finished)


def _compiled(
    network: keras.Sequential, layers: list[keras.layers.Layer], recipe: Recipe, replicas: Replicas | None, steps: int
) -> DefinedModel:
    """The model that is trained: `layers`, which have the weights of `network` and end in logits."""
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
        # TensorFlow's strategies cannot be in its loop of steps.
        steps_per_execution=1 if replicas else STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA fuses multiplications and additions
    )
    return model


def log_probabilities(
    network: keras.Sequential, rows: int, views: Sequence[View] = (itself,)
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function from at most `rows` rows of features, [n, values], to logarithms of probabilities, [n, classes].

    It raises InputError if one of them is no finite number.

    Args:
        network: a model from features to probabilities.
        rows: the most at a time.
        views: of each image, whose logits are averaged.
    """
    layers = defined(network)

    def logits(values: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            values = layer(values)
        return values

    @tf.function(autograph=False)  # to convert Python that has no branches on tensors takes longer than to trace it
    def forward(features: tf.Tensor) -> tf.Tensor:
        mean = arithmetic.in_order([logits(view(features)) for view in views]) * (1 / len(views))
        return tf.transpose(arithmetic.log_softmax(mean)[0])

    def predict(features: NDArray[Any]) -> NDArray[Any]:
        values, _, _ = filled(tf.constant(features), tf.zeros(len(features), tf.int32), rows)
        logarithms = forward(values).numpy()[: len(features)]
        if not np.isfinite(logarithms).all():  # weights may be finite, and their products not
            raise InputError(
                "the model",
                expected="probabilities that are numbers",
                received="others, as of a network whose weights are too large",
                hint="Lower its `learning_rate` in params.yaml, and run `make repro` to train it again.",
            )
        return logarithms

    return predict
