"""Compare float32 arrays by their bits, and draw numbers to compare."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


def assert_same_bits(found: Any, expected: ArrayLike) -> None:
    """Check that every bit is equal, apart from the sign of a zero."""
    first, second = np.asarray(found), np.asarray(expected)
    assert first.dtype == second.dtype == np.float32
    assert first.shape == second.shape
    # Adding 0 turns -0 into 0.
    wrong = (first + np.float32(0)).view(np.uint32) != (second + np.float32(0)).view(np.uint32)
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} values differ"


def normal(*shape: int, seed: int = 0) -> Floats:
    """Return random numbers of a normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def whole(*shape: int, seed: int = 0) -> Floats:
    """Return random integers so small that their sums and products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)
