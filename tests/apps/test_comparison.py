"""McNemar's exact test of two models on the same images, against figures worked out by hand or in another way."""

import math

import numpy as np
import pytest

from digits.apps.comparison import Comparison, compare


def test_images_that_one_model_alone_has_right_are_counted() -> None:
    labels = np.array([0, 1, 2, 3, 4])
    first, second = np.array([0, 1, 0, 0, 4]), np.array([0, 0, 2, 3, 0])
    assert compare(labels, first, second) == (2, 2)
    assert compare(labels, first, labels) == (2, 0)
    assert compare(labels, labels, first) == (0, 2)


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [
        (0, 0, 1),
        (1, 0, 1),  # 2 * 1/2
        (9, 1, 22 / 1024),  # 2 * (1 + 10) / 2**10
        (1, 9, 22 / 1024),
        (6, 0, 2 / 64),
        (5, 5, 1),
        (5000, 5000, 1),
    ],
)
def test_the_p_value_of_a_difference(gained: int, lost: int, p_value: float) -> None:
    assert Comparison(gained, lost).p_value == pytest.approx(p_value, rel=1e-12)


def test_the_p_value_is_twice_the_tail_of_the_binomial() -> None:
    for gained, lost in ((30, 55), (164, 44), (12, 13)):
        tail = sum(math.comb(gained + lost, heads) for heads in range(min(gained, lost) + 1))
        assert Comparison(gained, lost).p_value == pytest.approx(min(1, 2 * tail / 2 ** (gained + lost)), rel=1e-12)
    assert Comparison(164, 44).p_value < 1e-4 < Comparison(30, 20).p_value
