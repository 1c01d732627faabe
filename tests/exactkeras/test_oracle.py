"""The NumPy oracle: its fused multiply-add and its chain against exact fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.oracle import SMALLEST, F, chain, flushed, fma
from tests.support.bits import normal

Floats = NDArray[np.float32]


def rounded(value: Fraction) -> float:
    """Round to the nearest float32, ties to even; to zero below the smallest normal number."""
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


def random_floats(seed: int, exponents: tuple[int, int], count: int = 2000) -> Floats:
    """Return numbers of either sign, whose exponents are uniform."""
    random = np.random.default_rng(seed)
    fraction = random.uniform(1, 2, count) * random.choice([-1, 1], count)
    return np.ldexp(fraction, random.integers(*exponents, count)).astype(np.float32)


@pytest.mark.parametrize("exponents", [(-3, 4), (-30, 30), (-60, 60)])
def test_a_fused_multiply_add_is_rounded_once(exponents: tuple[int, int]) -> None:
    a, b, c = (random_floats(seed, exponents) for seed in range(3))
    np.testing.assert_array_equal(fma(a, b, c), exactly(a, b, c))
    if exponents != (-60, 60):  # cancelling leaves the rounding error of the product
        np.testing.assert_array_equal(fma(a, b, -(a * b)), exactly(a, b, -(a * b)))


def test_sums_half_way_between_two_numbers_go_to_the_even_one() -> None:
    near = [F(1), *(F(1) + sign * F(2.0**-k) for k in (9, 12, 17, 22, 23) for sign in (-1, 1))]
    ends = [F(1), F(1) + F(2.0**-23), F(2) - F(2.0**-23), F(1.5), F(2)]
    # Half a unit in the last place of an end, or nearly, on either side: float64 cannot always see on which.
    scales = [F(sign * 2.0**-power) for power in (23, 24, 25, 26) for sign in (-1, 1)]
    a, b, scale, c = np.array(list(itertools.product(near, near, scales, ends)), np.float32).T
    a = a * scale
    expected = exactly(a, b, c)
    np.testing.assert_array_equal(fma(a, b, c), expected)
    # The negative controls: rounding twice, by way of float64 or of the product in float32, is wrong for some of them.
    assert ((a.astype(np.float64) * b + c).astype(np.float32) != expected).sum() > 10
    assert (a * b + c != expected).sum() > 10


def test_sums_below_the_smallest_normal_number_are_zero() -> None:
    a = np.array([SMALLEST, SMALLEST, -SMALLEST, SMALLEST, F(2.0**-100)], np.float32)
    b = np.array([0.75, 1, 0.75, -1, 2.0**-49], np.float32)
    c = np.array([0, 0, 0, 1.5 * SMALLEST, 0], np.float32)
    np.testing.assert_array_equal(fma(a, b, c), [0, SMALLEST, 0, 0, 0])
    np.testing.assert_array_equal(flushed(np.array([SMALLEST / 2, -SMALLEST, 0, 1], np.float32)), [0, -SMALLEST, 0, 1])


def test_a_chain_is_the_loop_over_the_inner_dimension() -> None:
    a, b = normal(5, 37), normal(37, 3, seed=1)
    found = chain(a, b)
    for i, j in itertools.product(range(5), range(3)):
        total = 0.0
        for k in range(37):
            total = rounded(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) + Fraction(total))
        assert found[i, j] == total
    assert (found != (a.astype(np.float64) @ b).astype(np.float32)).any()
    assert (found != chain(a[:, ::-1], b[::-1])).any()  # the order counts
