"""Pictures in MNIST's form, for tests."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.apps.handwriting import prepare
from digits.apps.ink.finding import find_digits
from digits.apps.ink.form import in_form
from digits.data.form import Form
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.strokes import draw

#: Pixels of the side of a plain drawing, and of its strokes.
SIDE, WIDTH = 140, 10


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def to_digits(picture: Image.Image) -> list[NDArray[np.uint8]]:
    """The digits that are found in a picture, from left to right, each uint8 [28, 28], 255 is ink."""
    found = find_digits(picture)
    return (
        []
        if found is None
        else [in_form(strength, Form(box=20, centred_by="mass"), (28, 28)) for strength in found.strengths]
    )


def to_digit(picture: Image.Image) -> NDArray[np.uint8]:
    """The only digit in a picture, uint8 [28, 28]. All zero: there is none."""
    digits = to_digits(picture)
    assert len(digits) < 2, f"{len(digits)} digits"
    return digits[0] if digits else np.zeros((28, 28), np.uint8)


def prepared(picture: Image.Image) -> NDArray[np.uint8]:
    """The first of what the program sees in the file of a picture, uint8 [28, 28]. All zero: it is refused."""
    try:
        return prepare("a", file(picture), sample_dataset()).images[0]
    except InputError:
        return np.zeros((28, 28), np.uint8)


def difference(picture: Image.Image, digit: int = 3) -> float:
    """Mean difference of what comes out, of 255 levels, from what the plain drawing of the digit gives."""
    expected = to_digit(draw(digit, side=SIDE, width=WIDTH))
    return float(np.abs(to_digit(picture).astype(int) - expected).mean())
