"""The optimizers: Keras's own steps to rounding, and the formulas of the definition bit for bit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.oracle import F
from tests.support.bits import assert_same_bits, normal
from tests.support.reference import STEPS, warmup_linear_decay

pytestmark = pytest.mark.usefixtures("tensorflow")
Floats = NDArray[np.float32]
NAMES = ["rmsprop", "adam", "sgd"]
SHAPES = [(), (1,), (7, 13), (1003,)]


def gradients(shape: tuple[int, ...], step: int) -> Floats:
    """Return numbers of all sizes, with zeros and some whose square is not a normal number."""
    numbers = normal(*shape, seed=step) * np.float32(10.0) ** np.random.default_rng(step).integers(-30, 3, shape)
    return np.where(normal(*shape, seed=step + 100) > 1.5, 0, numbers).astype(np.float32)


def stepped(tf: Any, optimizer: Any, starts: list[Floats], steps: int) -> list[list[Floats]]:
    """Return the values of several weights after each step."""
    variables = [tf.Variable(start) for start in starts]
    optimizer.build(variables)
    apply, found = tf.function(optimizer.apply), []
    for step in range(steps):
        apply([tf.constant(gradients(start.shape, step)) for start in starts])
        found.append([variable.numpy() for variable in variables])
    return found


@pytest.mark.parametrize("warmup", [None, 0.3])
@pytest.mark.parametrize("peak", [0.001, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_every_step_has_the_defined_bits(tensorflow: Any, name: str, peak: float, warmup: float | None) -> None:
    from exactkeras.fit import WarmupLinearDecay
    from exactkeras.optimizers import OPTIMIZERS

    weights = [normal(*shape) for shape in SHAPES]
    states: list[list[Any]] = [[np.zeros_like(start), np.zeros_like(start), F(1), F(1)] for start in weights]
    schedule = peak if warmup is None else WarmupLinearDecay(peak, 6, warmup)
    for step, values in enumerate(stepped(tensorflow, OPTIMIZERS[name](learning_rate=schedule), weights, 6)):
        rate = F(peak) if warmup is None else warmup_linear_decay(step, peak, 6, warmup)
        for k, (shape, state) in enumerate(zip(SHAPES, states, strict=True)):
            weights[k] = np.asarray(STEPS[name](state, weights[k], gradients(shape, step), rate))
            assert_same_bits(values[k], weights[k])


@pytest.mark.parametrize("name", NAMES)
def test_every_step_agrees_with_keras(tensorflow: Any, name: str) -> None:
    import keras

    from exactkeras.optimizers import OPTIMIZERS

    theirs = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[name]
    starts = [normal(*shape) for shape in SHAPES]
    found, expected = (stepped(tensorflow, kind(0.01), starts, 8) for kind in (OPTIMIZERS[name], theirs))
    for own, other in zip(found, expected, strict=True):
        for mine, keras_own in zip(own, other, strict=True):
            np.testing.assert_allclose(mine, keras_own, rtol=1e-6, atol=1e-6)
    assert any((start != last).any() for start, last in zip(starts, found[-1], strict=True))


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"),
    [
        (4, 0.5, [0.25, 0.75, 0.75, 0.25]),
        (4, 0.0, [0.5, 5 / 6, 0.5, 1 / 6]),  # one step at least
        (4, 1.0, [0.125, 0.375, 0.625, 0.875]),
        (1, 0.1, [0.5]),
    ],
)
def test_the_rate_rises_and_falls_in_straight_lines(steps: int, warmup: float, rates: list[float]) -> None:
    from exactkeras.fit import WarmupLinearDecay

    schedule = WarmupLinearDecay(1.0, steps, warmup)
    assert [float(schedule(step)) for step in range(steps)] == pytest.approx(rates)
