"""A test set made of the training set."""

import numpy as np
import pytest

from digits.sources.parts import choose
from dvcproof.runtime.program import InputError


@pytest.mark.parametrize("ordered", [True, False])
def test_each_class_gives_its_share(ordered: bool) -> None:
    labels = np.arange(1000) % 10
    chosen = choose(np.sort(labels) if ordered else labels, 100)
    assert chosen.sum() == 100
    assert np.bincount((np.sort(labels) if ordered else labels)[chosen]).tolist() == [10] * 10


def test_a_class_keeps_its_only_image() -> None:
    labels = np.array([0] * 50 + [1] + [2] * 50)
    for count in (1, 20, 98):
        chosen = choose(labels, count)
        assert chosen.sum() == count
        assert set(labels[~chosen]) == {0, 1, 2}
    with pytest.raises(InputError, match=r"expected at most 98, so that each class keeps an image .* Got 99\."):
        choose(labels, 99)


def test_the_choice_is_spread_over_the_class() -> None:
    assert np.flatnonzero(choose(np.zeros(101, int), 4)).tolist() == [13, 38, 63, 88]
