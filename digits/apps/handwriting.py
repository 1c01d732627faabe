"""Pictures in the form of a data set's images: digits are found first, other things are taken as they are."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.apps.decoding import decode
from digits.apps.ink.explain import Step, steps_of
from digits.apps.ink.finding import find_digits
from digits.apps.ink.form import in_form, in_form_already, whole
from digits.data.dataset import Dataset
from digits.sources.orientation import stored_levels
from dvcproof.runtime.program import InputError


class Prepared(NamedTuple):
    """What is in a picture, in the form of the data set's images."""

    images: NDArray[
        np.uint8
    ]  # [n, height, width] or [n, height, width, 3]: the digits of a row from left to right, or the one picture
    steps: list[Step]  # how they came about


def prepare(name: str, content: bytes, dataset: Dataset) -> Prepared:
    """Bring an image file to the form of a data set's images.

    Args:
        name: what the file is called in messages.
        content: its bytes.
        dataset: decides the form. If its images are strokes on an empty field, the strokes in the picture are found and
            put where the set has them, unless they lie there already; else the picture is scaled as it is.

    Raises:
        InputError: the bytes are no image that can be read, or there is no ink in it.
    """
    picture = _stretched(decode(name, content), dataset)
    form, shape = dataset.form, dataset.image_shape
    if form is None:
        return _unchanged(picture, whole(picture, dataset))
    image = in_form_already(picture, form, shape)
    if image is not None:
        return _unchanged(picture, image)
    found = find_digits(picture)
    if found is None:
        raise InputError(
            name,
            expected="a digit, darker or lighter than its background",
            received="no ink",
            hint="Draw with a thicker or darker pen.",
        )
    images = np.stack([in_form(strength, form, shape) for strength in found.strengths])
    return Prepared(images, steps_of(picture, found, images))


def _stretched(picture: Image.Image, dataset: Dataset) -> Image.Image:
    """A picture as `load` stretches those of the data set, if it has their size and only their few levels."""
    if dataset.highest == 255 or picture.size != dataset.image_shape[1::-1] or picture.mode not in ("L", "RGB"):
        return picture
    levels = np.asarray(picture)
    if levels.max() > dataset.highest:
        return picture
    return Image.fromarray(stored_levels(None, dataset.highest)[levels])


def _unchanged(picture: Image.Image, image: NDArray[np.uint8]) -> Prepared:
    return Prepared(image[np.newaxis], [Step("picture", picture), Step("as the model sees it", Image.fromarray(image))])
