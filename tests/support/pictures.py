"""Convert pictures to MNIST's form, and compare them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.faults import files
from digits.apps.handwriting import prepare
from digits.apps.ink.finding import find_digits
from digits.apps.ink.form import in_form
from digits.data.form import Form
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.strokes import draw

#: Width of a plain drawing and of its strokes, in pixels.
SIDE, WIDTH = 140, 10


file = files.image_file


def to_digits(picture: Image.Image) -> list[NDArray[np.uint8]]:
    """Find the digits in a picture, from left to right, each uint8 [28, 28], 255 is ink."""
    found = find_digits(picture)
    return (
        []
        if found is None
        else [in_form(strength, Form(box=20, centred_by="mass"), (28, 28)) for strength in found.strengths]
    )


def to_digit(picture: Image.Image) -> NDArray[np.uint8]:
    """Find the only digit in a picture, uint8 [28, 28]; all zero if there is none."""
    digits = to_digits(picture)
    assert len(digits) < 2, f"{len(digits)} digits"
    return digits[0] if digits else np.zeros((28, 28), np.uint8)


def prepared(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the first digit that the program sees in a picture file, uint8 [28, 28]; all zero if it is refused."""
    try:
        return prepare("a", file(picture), sample_dataset()).images[0]
    except InputError:
        return np.zeros((28, 28), np.uint8)


def difference(picture: Image.Image, digit: int = 3) -> float:
    """Compute the mean difference, in grey levels, from the digit that the plain drawing gives."""
    expected = to_digit(draw(digit, side=SIDE, width=WIDTH))
    return float(np.abs(to_digit(picture).astype(int) - expected).mean())
