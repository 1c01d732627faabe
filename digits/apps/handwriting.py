"""Convert pictures to the form of a data set's images: find the digits, or scale pictures of other things."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from digits.apps.decoding import decode
from digits.apps.ink.finding import Found, find_digits
from digits.apps.ink.normalize import already_normal, fit_whole, normalize
from digits.data.dataset import Dataset
from digits.scoring.picture import draw_images
from digits.sources.images import stored_levels
from dvcproof.runtime.program import InputError

#: Side of the square in which a step is drawn, in pixels, and the colour beside a picture that is not square.
TILE, BESIDE = 160, (225, 225, 225)


#: The caption of a step, and the picture after it.
Step = tuple[str, Image.Image]


class Prepared(NamedTuple):
    """The images that the model reads, and the steps from the picture to them."""

    images: NDArray[np.uint8]  # [n, height, width] or [n, height, width, 3]: digits from left to right, or the picture
    steps: list[Step]


def prepare(name: str, content: bytes, dataset: Dataset) -> Prepared:
    """Convert an image file to images in the form of a data set.

    If the set's images are strokes on an empty field, find the strokes in the picture, and scale and move them as in
    the set. A picture that already has this form stays unchanged. For other sets, scale the whole picture. Raise
    InputError if the file cannot be decoded, or if there is no ink in the picture.
    """
    picture = _stretched(decode(name, content), dataset)
    image = fit_whole(picture, dataset) if dataset.form is None else already_normal(picture, dataset)
    if image is not None:
        steps = [("picture", picture), ("as the model sees it", Image.fromarray(image))]
        return Prepared(image[np.newaxis], steps)
    found = find_digits(picture)
    if found is None:
        hint = "Draw with a thicker or darker pen."
        raise InputError(name, "there is no ink, darker or lighter than its background", hint=hint)
    images = np.stack([normalize(strength, dataset) for strength in found.strengths])
    return Prepared(images, _steps(picture, found, images))


def _stretched(picture: Image.Image, dataset: Dataset) -> Image.Image:
    """Stretch the levels as `load` did, if a picture has the size and the few levels of the source's images."""
    if dataset.highest == 255 or picture.size != dataset.image_shape[1::-1] or picture.mode not in ("L", "RGB"):
        return picture
    levels = np.asarray(picture)
    return picture if levels.max() > dataset.highest else Image.fromarray(stored_levels(None, dataset.highest)[levels])


def _steps(picture: Image.Image, found: Found, images: NDArray[np.uint8]) -> list[Step]:
    """Return the steps in which digits were found. `images` are the normalized digits, [n, height, width]."""
    pictures = {
        "paper": found.page * 255,
        "against the paper": found.contrast,
        "ink without lines": found.ink * 255,
        "digits": np.max(found.strengths, axis=0) * 255,
        "as the model sees it": np.hstack(list(images)),
    }
    steps = [(caption, Image.fromarray(levels.astype(np.uint8))) for caption, levels in pictures.items()]
    return [("picture", picture), *steps]


def draw_steps(steps: Sequence[Step]) -> Image.Image:
    """Draw all steps from left to right, each with its caption. Transparent parts are middle grey."""
    tiles = []
    for _, picture in steps:
        method = Image.Resampling.NEAREST if max(picture.size) < TILE else Image.Resampling.LANCZOS
        opaque = Image.new("RGBA", picture.size, (128, 128, 128, 255))
        opaque.alpha_composite(picture.convert("RGBA"))
        tiles.append(np.asarray(ImageOps.pad(opaque.convert("RGB"), (TILE, TILE), method, color=BESIDE)))
    return draw_images(np.stack(tiles), [caption for caption, _ in steps], columns=len(steps))
