"""The exact fused multiply-add, against arithmetic with fractions."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.chain import SMALLEST, F, adam, chain, flushed, fma, rmsprop

Floats = NDArray[np.float32]


def rounded(value: Fraction) -> float:
    """The nearest float32, ties to even; zero below the smallest normal number."""
    if value == 0:
        return 0.0
    exponent = math.frexp(float(value))[1]  # of float64: right, or one too many after rounding up to a power of two
    while abs(value) < Fraction(2) ** (exponent - 1):
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 24, -149)
    nearest = float(round(value / unit) * unit)  # Python's `round` takes the even one of two
    return 0.0 if abs(nearest) < 2.0**-126 else nearest


def exactly(a: Floats, b: Floats, c: Floats) -> list[float]:
    triples = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    return [rounded(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in triples]


def random_floats(count: int, seed: int, exponents: tuple[int, int]) -> Floats:
    """Numbers of either sign, whose exponents are uniform."""
    random = np.random.default_rng(seed)
    fraction = random.uniform(1, 2, count) * random.choice([-1, 1], count)
    return np.ldexp(fraction, random.integers(*exponents, count)).astype(np.float32)


def nasty() -> tuple[Floats, Floats, Floats]:
    """Sums that lie half way between two numbers, or so near to it that float64 cannot see on which side."""
    near = [F(1), *(F(1) + sign * F(2.0**-k) for k in (9, 12, 17, 22, 23) for sign in (-1, 1))]
    ends = [F(1), F(1) + F(2.0**-23), F(2) - F(2.0**-23), F(1.5), F(2)]
    # Half a unit in the last place of `end`, or just about as much, on either side.
    scales = [F(sign * 2.0**-power) for power in (23, 24, 25, 26) for sign in (-1, 1)]
    a, b, scale, c = np.array(list(itertools.product(near, near, scales, ends)), np.float32).T
    return a * scale, b, c


@pytest.mark.parametrize("exponents", [(-3, 4), (-30, 30), (-60, 60)])
def test_a_fused_multiply_add_is_rounded_once(exponents: tuple[int, int]) -> None:
    a, b, c = (random_floats(3000, seed, exponents) for seed in range(3))
    np.testing.assert_array_equal(fma(a, b, c), exactly(a, b, c))


def test_sums_half_way_between_two_numbers_go_to_the_even_one() -> None:
    a, b, c = nasty()
    expected = exactly(a, b, c)
    np.testing.assert_array_equal(fma(a, b, c), expected)
    # The negative controls: rounding twice, by way of float64 or of the product in float32, is wrong for some of them.
    through_float64 = (a.astype(np.float64) * b + c).astype(np.float32)
    assert (through_float64 != expected).sum() > 10
    assert (a * b + c != expected).sum() > 10


def test_what_cancels_leaves_the_rounding_error_of_the_product() -> None:
    a, b = random_floats(1000, 0, (-20, 20)), random_floats(1000, 1, (-20, 20))
    c = -(a * b)
    found = fma(a, b, c)
    np.testing.assert_array_equal(found, exactly(a, b, c))
    assert (found != 0).mean() > 0.9


def test_sums_below_the_smallest_normal_number_are_zero() -> None:
    a = np.array([SMALLEST, SMALLEST, -SMALLEST, SMALLEST, F(2.0**-100)], np.float32)
    b = np.array([0.75, 1, 0.75, -1, 2.0**-49], np.float32)
    c = np.array([0, 0, 0, 1.5 * SMALLEST, 0], np.float32)
    np.testing.assert_array_equal(fma(a, b, c), [0, SMALLEST, 0, 0, 0])
    np.testing.assert_array_equal(fma(a, b, c), exactly(a, b, c))
    tiny = np.array([SMALLEST / 2, -SMALLEST / 2, SMALLEST, -SMALLEST, 0, 1], np.float32)
    assert tiny[0] != 0
    np.testing.assert_array_equal(flushed(tiny), [0, 0, SMALLEST, -SMALLEST, 0, 1])


def test_a_chain_is_the_loop_over_the_inner_dimension() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((5, 37), np.float32), random.standard_normal((37, 3), np.float32)
    found = chain(a, b)
    for i, j in itertools.product(range(5), range(3)):
        total = 0.0
        for k in range(37):
            total = rounded(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) + Fraction(total))
        assert found[i, j] == total
    np.testing.assert_allclose(found, a @ b, rtol=1e-4, atol=1e-5)
    assert (found != (a.astype(np.float64) @ b).astype(np.float32)).any()
    assert (found != chain(a[:, ::-1], b[::-1])).any()  # the order counts


@pytest.mark.parametrize("formula", [rmsprop, adam])
def test_the_steps_of_the_optimizers_agree_with_float64(formula: Any) -> None:
    random = np.random.default_rng(0)
    weight, rate = random.standard_normal(500, np.float32), 0.01
    state: list[Any] = [np.zeros(500, np.float32), np.zeros(500, np.float32), F(1), F(1)]
    expected, m, v = weight.astype(np.float64), np.zeros(500), np.zeros(500)
    for step in range(1, 6):
        gradient = random.standard_normal(500, np.float32)
        weight = formula(state, weight, gradient, F(rate))
        if formula is rmsprop:
            v = 0.9 * v + 0.1 * gradient.astype(np.float64) ** 2
            expected -= rate * gradient / np.sqrt(v + 1e-7)
        else:
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient.astype(np.float64) ** 2
            expected -= rate * m * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) / (np.sqrt(v) + 1e-7)
        assert weight.dtype == np.float32
        # 1 - 0.999 has an error of 5e-5 in float32, which is small beside a rate.
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-6)
