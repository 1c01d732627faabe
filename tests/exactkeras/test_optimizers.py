"""The optimizers: Keras's own steps to rounding, and the formulas of the definition bit for bit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.chain import F
from tests.support.bits import assert_same_bits, normal
from tests.support.reference import STEPS

pytestmark = pytest.mark.usefixtures("tensorflow")
Floats = NDArray[np.float32]
NAMES = ["rmsprop", "adam", "sgd"]
SHAPES = [(), (1,), (7, 13), (1003,)]


def gradients(shape: tuple[int, ...], step: int) -> Floats:
    """Numbers of all sizes, zeros and such whose square is no normal number among them."""
    numbers = normal(*shape, seed=step) * np.float32(10.0) ** np.random.default_rng(step).integers(-30, 3, shape)
    return np.where(normal(*shape, seed=step + 100) > 1.5, 0, numbers).astype(np.float32)


def stepped(tf: Any, optimizer: Any, starts: list[Floats], steps: int, *, in_graph: bool = False) -> list[list[Floats]]:
    """The values of several weights after each step."""
    variables = [tf.Variable(start) for start in starts]
    optimizer.build(variables)
    apply = tf.function(optimizer.apply) if in_graph else optimizer.apply
    found = []
    for step in range(steps):
        apply([tf.constant(gradients(start.shape, step)) for start in starts])
        found.append([variable.numpy() for variable in variables])
    return found


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("rate", [0.001, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_every_step_has_the_defined_bits(tensorflow: Any, name: str, rate: float, in_graph: bool) -> None:
    from exactkeras.optimizers import OPTIMIZERS

    weights = [normal(*shape) for shape in SHAPES]
    states: list[list[Any]] = [[np.zeros_like(start), np.zeros_like(start), F(1), F(1)] for start in weights]
    found = stepped(tensorflow, OPTIMIZERS[name](learning_rate=rate), weights, 6, in_graph=in_graph)
    for step, values in enumerate(found):
        for k, (shape, state) in enumerate(zip(SHAPES, states, strict=True)):
            expected = STEPS[name](state, weights[k], gradients(shape, step), F(rate))
            assert_same_bits(values[k], np.asarray(expected))
            weights[k] = expected


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


def test_a_schedule_decides_the_rate_of_each_step(tensorflow: Any) -> None:
    from exactkeras.fit import WarmupLinearDecay
    from exactkeras.optimizers import OPTIMIZERS
    from tests.support.reference import warmup_linear_decay

    for name in NAMES:
        start = normal(50)
        optimizer = OPTIMIZERS[name](learning_rate=WarmupLinearDecay(0.005, 7, 0.3))
        state: list[Any] = [np.zeros_like(start), np.zeros_like(start), F(1), F(1)]
        for step, (found,) in enumerate(stepped(tensorflow, optimizer, [start], 7, in_graph=True)):
            rate = warmup_linear_decay(step, 0.005, 7, 0.3)
            start = STEPS[name](state, start, gradients((50,), step), rate)
            assert_same_bits(found, start)
