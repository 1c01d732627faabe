"""Reference implementations of products and optimizer steps in NumPy: slow, exact, for comparison with TensorFlow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
F = np.float32

#: The smallest normal number. TensorFlow's threads replace smaller numbers by zero.
SMALLEST = F(2.0**-126)


def flushed(x: Floats) -> Floats:
    """Replace values whose magnitude is below the smallest normal number by zero."""
    return np.where(np.abs(x) < SMALLEST, F(0), x)


def fma(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return a * b + c, rounded once.

    The product is exact in float64. The sum is rounded to odd in float64; then the rounding to float32 is correct
    (S. Boldo and G. Melquiond, Emulation of a FMA and correctly rounded sums, 2008).
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)  # exact: D. E. Knuth's two-sum
    bits = total.view(np.int64)
    towards_zero = bits - ((error != 0) & (np.signbit(error) != np.signbit(total)))
    odd = np.where(error != 0, towards_zero | 1, bits).view(np.float64)
    return flushed(odd.astype(np.float32))


def chain(a: Floats, b: Floats) -> Floats:
    """Multiply [m, k] and [k, n]: acc = fma(a, b, acc) over k in order, from zero."""
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = fma(a[:, k : k + 1], b[k : k + 1], total)
    return total


def rmsprop(state: list[Any], weight: Floats, gradient: Floats, rate: F) -> Floats:
    """Return the weight after a step of RMSprop. Replace `state[0]`, the mean of squared gradients, by a new array."""
    v = state[0] = flushed(state[0] + flushed((flushed(gradient * gradient) - state[0]) * (F(1) - F(0.9))))
    return weight - flushed(flushed(gradient * rate) / np.sqrt(v + F(1e-7)))


def adam(state: list[Any], weight: Floats, gradient: Floats, rate: F) -> Floats:
    """Return the weight after a step of Adam. Update `state` in place: two means, and the powers of their decays."""
    m, v, power_1, power_2 = state
    power_1, power_2 = power_1 * F(0.9), power_2 * F(0.999)
    m = flushed(m + flushed(flushed(gradient - m) * (F(1) - F(0.9))))
    v = flushed(v + flushed(flushed(flushed(gradient * gradient) - v) * (F(1) - F(0.999))))
    state[:] = m, v, power_1, power_2
    step = flushed(m * (rate * np.sqrt(F(1) - power_2) / (F(1) - power_1)))
    return weight - flushed(np.divide(step, np.sqrt(v) + F(1e-7), dtype=np.float32))
