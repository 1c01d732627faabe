"""The form of a data set's images: a digit is put where the set has its digits, as MNIST's makers put theirs.

They scaled a digit into a box of 20 x 20 pixels with its proportions kept, which gives grey levels by anti-aliasing,
and moved its centre of mass to the centre of a field of 28 x 28 (Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST
database of handwritten digits). Other sets have another box, or centre the box itself: `dataset.json` says so.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from digits.apps.ink.parts import bounds
from digits.data.dataset import Dataset
from digits.data.form import FAINT, Form, are_strokes, place

Floats = NDArray[np.float32]
Image8 = NDArray[np.uint8]


def fit(ink: Floats, box: int) -> Floats:
    """Cut out the ink and scale it to `box` pixels in its longer side.

    Args:
        ink: [h, w] in [0, 1], with some ink.
        box: pixels.

    Returns:
        [h, w] in [0, 1], the longer of the two `box`. The darkest pixel is 1: a thin line would else become faint.
    """
    cut = ink[bounds(ink)].astype(np.float32)
    scale = box / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    fitted = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR))
    return fitted / fitted.max()


def centre(box: Floats, shape: tuple[int, int], *, by_mass: bool) -> Image8:
    """Put a digit into the middle of a field, but nothing over its edge.

    Args:
        box: [h, w] in [0, 1], neither longer than the field.
        shape: height and width of the field.
        by_mass: whether the centre of mass comes to the middle (to pixel 14 of 28, as in MNIST), or that of the box.

    Returns:
        uint8 of this shape, 255 is ink.
    """
    place = []
    for axis in (0, 1):
        mass = box.sum(axis=1 - axis)
        mean = float(mass @ np.arange(len(mass)) / mass.sum()) if by_mass else len(mass) / 2
        shift = math.floor(shape[axis] / 2 + (0.5 if by_mass else 0) - mean)
        start = min(max(shift, 0), shape[axis] - len(mass))
        place.append(slice(start, start + len(mass)))
    field = np.zeros(shape, np.uint8)
    field[place[0], place[1]] = np.rint(box * 255)
    return field


def in_form(ink: Floats, form: Form, image_shape: tuple[int, ...]) -> Image8:
    """A digit in the form of the images of a data set.

    Args:
        ink: [h, w] in [0, 1], with some ink.
        form: where they have their strokes.
        image_shape: height and width, and 3 if they are RGB.

    Returns:
        uint8 of this shape, light ink on dark.
    """
    height, width = image_shape[:2]
    image = centre(fit(ink, min(form.box, height, width)), (height, width), by_mass=form.centred_by == "mass")
    return _in_channels(image, image_shape)


def in_form_already(picture: Image.Image, form: Form, image_shape: tuple[int, ...]) -> Image8 | None:
    """A picture as it is, if it is like the images of the set: of their size, light on dark, the digit in its place.

    Returns:
        uint8 of this shape. None: it is not like them.
    """
    if picture.size != image_shape[1::-1] or picture.mode not in ("1", "L", "P", "RGB", "CMYK"):
        return None
    image = np.asarray(picture.convert("L"))
    if image.max() <= FAINT or not are_strokes(image[np.newaxis]):
        return None
    found = place(image)
    alike = abs(found.box - form.box) <= 1 and found.off(form.centred_by) <= 1
    return _in_channels(image, image_shape) if alike else None


def _in_channels(image: Image8, image_shape: tuple[int, ...]) -> Image8:
    """A grey image, the same in all channels if there are any."""
    return np.repeat(image[..., np.newaxis], image_shape[2], axis=2) if len(image_shape) == 3 else image


def whole(picture: Image.Image, dataset: Dataset) -> Image8:
    """A picture in the form of the images of a data set in which things fill the picture.

    It is scaled with its proportions kept, and what is missing is filled with the colour of its edge. As `load` turns
    dark on light to light on dark, so does this: a picture of the size of the images like the set, another by its edge.

    Args:
        picture: of any size and mode that Pillow can convert to RGB.
        dataset: says the shape of the images, and whether they were turned.

    Returns:
        uint8 of the shape of the images.
    """
    height, width = dataset.image_shape[:2]
    coloured = len(dataset.image_shape) == 3
    image = picture.convert("RGB" if coloured else "L")
    edge = _edge_colour(image)
    turned = dataset.ink == "dark" if image.size == (width, height) else dataset.ink is not None and np.mean(edge) > 127
    if turned:
        image, edge = ImageOps.invert(image), tuple(255 - level for level in edge)
    colour = edge if coloured else edge[0]
    return np.asarray(ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, color=colour))


def _edge_colour(image: Image.Image) -> tuple[int, ...]:
    """The median colour along the edge of a picture in grey or RGB."""
    levels = np.atleast_3d(np.asarray(image))
    edge = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    return tuple(int(level) for level in np.median(edge, axis=0))
