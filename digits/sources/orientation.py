"""How the images of a set lie: ink on paper or not, dark or light, upright or transposed."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ink = Literal["light", "dark"]

#: A background is even if so many of the pixels in the corners are within so many of the 255 levels of their median. Of
#: MNIST they all are, of Fashion-MNIST 99 %, of scikit-learn's 8 x 8 digits 99 %; of photographs less than half.
EVEN, NEAR = 0.75, 32

#: Ink covers so much of the images at least.
INK = 0.01

#: Images are in colour if in so many of their pixels the channels differ by more than NEAR levels.
COLOURED = 0.01

#: A character is tall or wide if its ink spreads so many times as far along one axis as along the other (in standard
#: deviations). Writing stands: of MNIST's digits 46 % are tall and 0.4 % wide. Clothes lie and stand: 34 % and 20 %.
LONG, MANY, MORE = 1.5, 0.1, 5

#: As people name EMNIST, whose published images are transposed. LEAF's FEMNIST is another set, whose images are not.
_EMNIST = re.compile(r"(?<![a-z])emnist")


class Background(NamedTuple):
    """What lies around the characters."""

    level: float  # the median of the corners
    ink: Ink | None  # against it; None: it is not even, or the images are in colour, so this is no ink on paper


def find_background(images: NDArray[np.uint8]) -> Background:
    """Look at the corners, which characters seldom reach: an eighth of each side, and at least a pixel.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
    """
    grey = _grey(images)
    tall, wide = (max(1, side // 8) for side in grey.shape[1:])
    rows, columns = np.r_[0:tall, -tall:0], np.r_[0:wide, -wide:0]
    corners = grey[:, rows[:, None], columns]
    level = float(np.median(corners))
    even = (np.abs(corners - level) <= NEAR).mean() >= EVEN
    coloured = images.ndim == 4 and (np.ptp(images, axis=3) > NEAR).mean() > COLOURED
    ink = (np.abs(grey - level) > NEAR).mean()
    if coloured or not even or ink < INK:
        return Background(level, None)
    return Background(level, "dark" if grey.mean() < level else "light")


def looks_transposed(images: NDArray[np.uint8], background: Background) -> bool:
    """Whether most characters are wide where writing is tall. Of what is no ink on paper this is not known: False."""
    if background.ink is None:
        return False
    strength = np.abs(_grey(images) - background.level)
    strength[strength <= NEAR] = 0  # noise of the paper is no ink
    strength = strength[strength.any(axis=(1, 2))]
    if not len(strength):
        return False
    down, across = _variance(strength.sum(axis=2)), _variance(strength.sum(axis=1))
    tall, wide = (down > LONG**2 * across).mean(), (across > LONG**2 * down).mean()
    return bool(wide >= MANY and wide > MORE * tall)


def _grey(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.mean(axis=3, dtype=np.float32) if images.ndim == 4 else images.astype(np.float32)


def _variance(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the places 0, 1, ... with weights: [n, places] to [n]."""
    places = np.arange(weights.shape[1], dtype=np.float32)
    total = weights.sum(axis=1)
    mean = weights @ places / total
    return weights @ places**2 / total - mean**2


def is_emnist(names: Iterable[str]) -> bool:
    """Whether paths or addresses name EMNIST, in their last part or the one before."""
    return any(_EMNIST.search(part.lower()) for name in names for part in PurePath(name.partition("#")[0]).parts[-2:])


def stored_levels(ink: Ink | None, highest: int) -> NDArray[np.uint8]:
    """What each level of a data set is stored as: uint8 [256].

    Args:
        ink: of the data set. Dark ink is inverted.
        highest: the level, of the data set, that becomes 255; there is none above it.
    """
    levels = np.rint(np.minimum(np.arange(256), highest) * (255 / highest)).astype(np.uint8)
    return 255 - levels if ink == "dark" else levels
