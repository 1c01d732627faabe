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
@pytest.mark.parametrize("name", ["RMSprop", "Adam", "SGD"])
def test_every_step_has_the_defined_bits_and_agrees_with_keras(
    tensorflow: Any, name: str, warmup: float | None
) -> None:
    import keras

    from exactkeras.fit import WarmupLinearDecay
    from exactkeras.optimizers import OPTIMIZERS

    weights = [normal(*shape) for shape in SHAPES]
    states: list[list[Any]] = [[np.zeros_like(start), np.zeros_like(start), F(1), F(1)] for start in weights]
    schedule = 0.01 if warmup is None else WarmupLinearDecay(0.01, 6, warmup)
    kinds = OPTIMIZERS[name.lower()], getattr(keras.optimizers, name)
    ours, theirs = (stepped(tensorflow, kind(schedule), weights, 6) for kind in kinds)
    for step, (found, other) in enumerate(zip(ours, theirs, strict=True)):
        rate = F(0.01) if warmup is None else warmup_linear_decay(step, 0.01, 6, warmup)
        for k, (shape, state) in enumerate(zip(SHAPES, states, strict=True)):
            before, weights[k] = weights[k], STEPS[name.lower()](state, weights[k], gradients(shape, step), rate)
            assert_same_bits(found[k], weights[k])
            np.testing.assert_allclose(found[k], other[k], rtol=1e-6, atol=1e-6)
        assert (weights[-1] != before).any()


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"),
    [
        (4, 0.5, [0.25, 0.75, 0.75, 0.25]),
        (4, 0.0, [0.5, 5 / 6, 0.5, 1 / 6]),  # the rate still rises, in one step
        (4, 1.0, [0.125, 0.375, 0.625, 0.875]),
        (1, 0.1, [0.5]),
    ],
)
def test_the_rate_rises_and_falls_in_straight_lines(steps: int, warmup: float, rates: list[float]) -> None:
    from exactkeras.fit import WarmupLinearDecay

    schedule = WarmupLinearDecay(1.0, steps, warmup)
    assert [float(schedule(step)) for step in range(steps)] == pytest.approx(rates)
