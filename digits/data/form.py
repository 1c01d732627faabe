"""How strokes lie in the images of a data set, so that the strokes of a photograph can be placed alike."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt

#: Strokes are narrower than STROKE x image side, apart from at most SOLID of their ink.
STROKE = 0.2
SOLID = 0.1

#: Grey levels up to this count as background (resampling and JPEG artefacts).
FAINT = 25

#: Number of images that are measured.
SAMPLE = 200


class Form(BaseModel):
    """Where the images have their strokes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: PositiveInt  # longer side of the box around the strokes in pixels, the median
    centred_by: Literal["mass", "box"]  # what lies in the centre of the image


#: The form of MNIST: the default if a data set's description has none.
MNIST_FORM = Form(box=20, centred_by="mass")


class Place(NamedTuple):
    """Where one image has its strokes."""

    box: int  # longer side of the box around them, in pixels
    mass: float  # distance of their centre of mass from the image centre, in pixels
    centre: float  # distance of the centre of the box from the image centre

    def off(self, centred_by: str) -> float:
        """Return the distance of the reference point (centre of mass or of the box) from the image centre."""
        return self.mass if centred_by == "mass" else self.centre


def measure_form(images: NDArray[np.uint8]) -> Form | None:
    """Measure where images have their strokes, on a sample of them.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3], light ink on dark.

    Returns:
        The form, or None if the images are not thin strokes on an empty field but things that fill it.
    """
    sample = grey(images[:: max(1, len(images) // SAMPLE)])
    inked = sample[(sample > FAINT).any(axis=(1, 2))]
    if not len(inked) or not are_strokes(inked):
        return None
    box, mass, centre = np.median([place(image) for image in inked], axis=0)
    return Form(box=int(box), centred_by="mass" if mass < centre else "box")


def grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean of the channels, if there are any: [n, height, width]."""
    return images if images.ndim == 3 else images.mean(axis=3).astype(np.uint8)


def are_strokes(images: NDArray[np.uint8]) -> bool:
    """Return whether hardly any ink of the images, uint8 [n, height, width], is both wide and tall."""
    ink = images > 127
    side = max(3, round(STROKE * min(images.shape[1:])))
    solid = np.lib.stride_tricks.sliding_window_view(ink, (side, side), axis=(1, 2)).all(axis=(3, 4))
    return bool(solid.sum() <= SOLID * ink.sum())


def place(image: NDArray[np.uint8]) -> Place:
    """Locate the strokes of an image, uint8 [height, width] with some pixel above FAINT."""
    strokes = np.where(image > FAINT, image, 0)
    boxes, masses, centres = [], [], []
    for axis, side in enumerate(image.shape):
        levels = strokes.sum(axis=1 - axis, dtype=np.int64)
        inked = np.flatnonzero(levels)
        boxes.append(int(inked[-1] - inked[0]) + 1)
        masses.append(abs(float(np.average(np.arange(side), weights=levels)) - side / 2))  # from pixel 14 of 28: MNIST
        centres.append(abs(float(inked[0] + inked[-1] + 1) - side) / 2)
    return Place(max(boxes), max(masses), max(centres))
