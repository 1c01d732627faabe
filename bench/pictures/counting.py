"""How many pictures are read right, are unsure, or are sure and wrong."""

import io
from collections.abc import Iterable, Iterator

from PIL import Image

from digits.apps.handwriting import prepare
from digits.apps.reading import Reader, Reading
from dvcproof.runtime.program import InputError

Labelled = Iterator[tuple[str, Image.Image]]  # what is in a picture, and the picture
Counts = dict[str, int]


def count(reader: Reader, pictures: Labelled) -> Counts:
    """Read pictures and count what comes out; a picture that is refused is unsure, and not right."""
    return count_readings((label, _read(reader, image)) for label, image in pictures)


def count_readings(readings: Iterable[tuple[str, list[Reading]]]) -> Counts:
    """How many are right (sure or not), unsure, and sure and wrong.

    Args:
        readings: what is in each picture, and what is read there, digit by digit.
    """
    found = {"pictures": 0, "right": 0, "unsure": 0, "sure_and_wrong": 0}
    for label, digits in readings:
        right = "".join(digit.predicted for digit in digits) == label
        unsure = not digits or any(digit.unsure for digit in digits)
        found["pictures"] += 1
        found["right"] += right
        found["unsure"] += unsure
        found["sure_and_wrong"] += not right and not unsure
    return found


def _read(reader: Reader, image: Image.Image) -> list[Reading]:
    """Nothing, if it is refused."""
    stream = io.BytesIO()
    image.save(stream, "TIFF" if image.mode == "CMYK" else "PNG")
    try:
        return reader.read(prepare("picture", stream.getvalue(), reader.dataset).images)
    except InputError:
        return []
