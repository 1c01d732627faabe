"""Pictures in MNIST's form, for tests."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.faults import files
from digits.apps.handwriting import prepare
from digits.apps.ink.finding import find_digits
from digits.apps.ink.normalize import normalize
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.strokes import draw

#: Pixels of the side of a plain drawing, and of its strokes.
SIDE, WIDTH = 140, 10

file = files.image_file


def plain(digit: int = 3) -> Image.Image:
    """Draw a digit in black on white, in mode L."""
    return draw(digit, side=SIDE, width=WIDTH)


def to_digit(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the only digit in a picture, uint8 [28, 28]; all zero if there is no digit."""
    found = find_digits(picture)
    if found is None:
        return np.zeros((28, 28), np.uint8)
    (strength,) = found.strengths
    return normalize(strength, sample_dataset())


def prepared(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the first digit that the program finds in a picture file; all zero if the program refuses the file."""
    try:
        return prepare("a", file(picture), sample_dataset()).images[0]
    except InputError:
        return np.zeros((28, 28), np.uint8)


def difference(picture: Image.Image, digit: int = 3) -> float:
    """Return the mean difference in levels between the digit in a picture and the plain drawing of that digit."""
    return float(np.abs(to_digit(picture).astype(int) - to_digit(plain(digit))).mean())
