"""How strokes lie in the images of a data set, so that those of a picture can be put there too."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt

#: Strokes are narrower than this part of the image, but for so much of their ink.
STROKE = 0.2
SOLID = 0.1

#: The brightest level that is none yet: traces of resampling and of JPEG.
FAINT = 25

#: Images that are measured.
SAMPLE = 200


class Form(BaseModel):
    """Where the images have their strokes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: PositiveInt  # pixels in the longer side of the strokes, the median
    centred_by: Literal["mass", "box"]  # what is in the middle of the image


#: Those of MNIST, which is taken for granted where a data set says nothing else.
MNIST_FORM = Form(box=20, centred_by="mass")


class Place(NamedTuple):
    """Where one image has its strokes."""

    box: int  # pixels in their longer side
    mass: float  # pixels from the middle of the image to their centre of mass
    centre: float  # and to the middle of the box around them

    def off(self, centred_by: str) -> float:
        """How far from the middle that is which should be there."""
        return self.mass if centred_by == "mass" else self.centre


def measure_form(images: NDArray[np.uint8]) -> Form | None:
    """Measure where images have their strokes, on some of them.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3], light ink on dark.

    Returns:
        None: they are not thin strokes on an empty field, like digits, but things that fill it.
    """
    sample = grey(images[:: max(1, len(images) // SAMPLE)])
    inked = sample[(sample > FAINT).any(axis=(1, 2))]
    if not len(inked) or not are_strokes(inked):
        return None
    places = [place(image) for image in inked]
    box, mass, centre = np.median(places, axis=0)
    return Form(box=int(box), centred_by="mass" if mass < centre else "box")


def grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of the channels, if there are any: [n, height, width]."""
    return images if images.ndim == 3 else images.mean(axis=3).astype(np.uint8)


def are_strokes(images: NDArray[np.uint8]) -> bool:
    """Whether hardly any ink is as high as it is wide, in images uint8 [n, height, width]."""
    ink = images > 127
    side = max(3, round(STROKE * min(images.shape[1:])))
    solid = np.lib.stride_tricks.sliding_window_view(ink, (side, side), axis=(1, 2)).all(axis=(3, 4))
    return bool(solid.sum() <= SOLID * ink.sum())


def place(image: NDArray[np.uint8]) -> Place:
    """Where an image, uint8 [height, width] with some pixel over FAINT, has its strokes."""
    strokes = np.where(image > FAINT, image, 0)
    boxes, masses, centres = [], [], []
    for axis, side in enumerate(image.shape):
        levels = strokes.sum(axis=1 - axis, dtype=np.int64)
        inked = np.flatnonzero(levels)
        boxes.append(int(inked[-1] - inked[0]) + 1)
        masses.append(abs(float(np.average(np.arange(side), weights=levels)) - side / 2))  # to pixel 14 of 28: MNIST
        centres.append(abs(float(inked[0] + inked[-1] + 1) - side) / 2)
    return Place(max(boxes), max(masses), max(centres))
