"""Convert digits to the size and place that strokes have in a data set, as the makers of MNIST did.

They scaled each digit into a box of 20 x 20 pixels, with anti-aliasing and without a change of its proportions. Then
they moved its centre of mass to the centre of a field of 28 x 28 pixels (Y. LeCun, C. Cortes and C. J. C. Burges, The
MNIST database of handwritten digits). Other sets may have another box, or the centre of the box in the centre of the
image: see `form` in dataset.json.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from digits.apps.ink.components import Floats, bounds
from digits.data.dataset import MNIST_FORM, Dataset
from digits.sources.images import FAINT, are_strokes, place

Image8 = NDArray[np.uint8]


def normalize(ink: Floats, dataset: Dataset) -> Image8:
    """Scale and centre a digit, ink in [0, 1], as in the images of a data set of strokes. Return light ink on dark."""
    form, (height, width) = dataset.form or MNIST_FORM, dataset.image_shape[:2]
    box = scale(ink, min(form.box, height, width))
    return _in_channels(centre(box, (height, width), by_mass=form.centred_by == "mass"), dataset)


def scale(ink: Floats, longest: int) -> Floats:
    """Cut out the ink and scale its longer side to `longest` pixels. Then scale the values so that the highest is 1.

    Otherwise thin lines would be faint.
    """
    cut = ink[bounds(ink)].astype(np.float32)
    factor = longest / max(cut.shape)
    height, width = (max(1, round(side * factor)) for side in cut.shape)
    scaled = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR))
    return scaled / scaled.max()


def centre(box: Floats, shape: tuple[int, int], *, by_mass: bool) -> Image8:
    """Put a digit, ink in [0, 1], into the middle of an empty field that is at least as large.

    With `by_mass`, its centre of mass comes into the middle (pixel 14 of 28, as in MNIST), not the centre of its box.
    """
    corner = []
    for axis in (0, 1):
        mass = box.sum(axis=1 - axis)
        middle = float(mass @ np.arange(len(mass)) / mass.sum()) if by_mass else len(mass) / 2
        start = math.floor(shape[axis] / 2 + (0.5 if by_mass else 0) - middle)
        corner.append(min(max(start, 0), shape[axis] - len(mass)))
    field = np.zeros(shape, np.uint8)
    field[corner[0] : corner[0] + box.shape[0], corner[1] : corner[1] + box.shape[1]] = np.rint(box * 255)
    return field


def already_normal(picture: Image.Image, dataset: Dataset) -> Image8 | None:
    """Return a picture unchanged if it already has size, light ink and place of strokes as in the set, else None."""
    form = dataset.form or MNIST_FORM
    if picture.size != dataset.image_shape[1::-1] or picture.mode not in ("1", "L", "P", "RGB", "CMYK"):
        return None
    image = np.asarray(picture.convert("L"))
    if image.max() <= FAINT or not are_strokes(image[np.newaxis]):
        return None
    found = place(image)
    alike = abs(found.box - form.box) <= 1 and (found.mass if form.centred_by == "mass" else found.centre) <= 1
    return _in_channels(image, dataset) if alike else None


def _in_channels(image: Image8, dataset: Dataset) -> Image8:
    """Return a grey image, repeated in three channels if the set's images have channels."""
    return np.repeat(image[..., np.newaxis], 3, axis=2) if len(dataset.image_shape) == 3 else image


def fit_whole(picture: Image.Image, dataset: Dataset) -> Image8:
    """Scale a picture to the size of a set's images, for a set in which things fill the image.

    The proportions are kept, and the missing parts are filled with the colour of the picture's edge. A picture that
    already has this size is inverted if `load` inverted the set. Another picture is inverted if the set has ink and the
    picture's edge is light.
    """
    height, width = dataset.image_shape[:2]
    coloured = len(dataset.image_shape) == 3
    image = picture.convert("RGB" if coloured else "L")
    levels = np.atleast_3d(np.asarray(image))
    edge = np.median(np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]]), axis=0).astype(int)
    same_size = image.size == (width, height)
    if dataset.ink == "dark" if same_size else dataset.ink is not None and edge.mean() > 127:
        image, edge = ImageOps.invert(image), 255 - edge
    colour = tuple(edge.tolist()) if coloured else int(edge[0])
    return np.asarray(ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, color=colour))
