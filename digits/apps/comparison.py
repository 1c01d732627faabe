"""Comparison of two models on the same images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: The significance level: a difference with a smaller p-value counts as clear. By convention: R. A. Fisher, Statistical
#: Methods for Research Workers (1925).
ALPHA = 0.05


class Comparison(NamedTuple):
    """Two models on the same images: on how many of them only one model is right."""

    gained: int  # images that only the second model has right
    lost: int  # images that only the first model has right

    @property
    def p_value(self) -> float:
        """How probable a difference as large as this is, or a larger one, if neither model is better.

        The exact form of the test of Q. McNemar (Psychometrika 12, 1947): each image on which only one is right is then
        a toss of a fair coin. T. G. Dietterich (Neural Computation 10, 1998) recommends it for models trained once.
        """
        tosses, term, tail = self.gained + self.lost, 1, 0
        for heads in range(min(self.gained, self.lost) + 1):
            tail += term
            term = term * (tosses - heads) // (heads + 1)
        return min(1.0, 2 * tail / 2**tosses)


def compare(labels: NDArray[np.integer], first: NDArray[np.integer], second: NDArray[np.integer]) -> Comparison:
    """Compare the classes that two models predict for the same images.

    Args:
        labels: what the images are, [n].
        first: the classes that one model predicts, [n].
        second: the classes that the other predicts, [n].
    """
    before, now = first == labels, second == labels
    return Comparison(gained=int((now & ~before).sum()), lost=int((before & ~now).sum()))
