"""The description of a data set, in a small file beside its arrays: image size, classes, and changes made by `load`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from digits.data.classes import MOST_CLASSES
from dvcproof.runtime.bounds import read_bytes
from dvcproof.runtime.files import write_json
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Limits for the sides of an image, in pixels, and the number of channels of a colour image.
SHORTEST, LONGEST, RGB = 8, 128, 3

#: Height and width in pixels, and 3 if the images are RGB.
ImageShape = Annotated[
    tuple[PositiveInt, PositiveInt] | tuple[PositiveInt, PositiveInt, Literal[3]], Field(union_mode="left_to_right")
]


class Form(BaseModel):
    """Size and place of the strokes in the images of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: PositiveInt  # longer side of the box around the strokes, in pixels: the median of all images
    centred_by: Literal["mass", "box"]  # whether the centre of mass or of the box lies in the image centre


#: The form of MNIST: the default if a data set's description has none.
MNIST_FORM = Form(box=20, centred_by="mass")


class ImagesPerClass(BaseModel):
    """The number of images of each class in both sets, in the order of the labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[NonNegativeInt]
    test: list[NonNegativeInt]


class Dataset(BaseModel):
    """The description of a data set. Its fields do not depend on the format of the source.

    The stored images are always light ink on dark and upright: `digits.sources.images` converts those of the source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: ImageShape
    classes: list[str] = Field(min_length=2, max_length=MOST_CLASSES)  # names, in the order of the labels
    images: ImagesPerClass
    #: The ink of the source's images. Images with dark ink are stored inverted. None: no ink on paper, but photographs.
    ink: Literal["light", "dark"] | None
    highest: int = Field(default=255, ge=0, le=255)  # the level of the source's images that was stretched to 255
    transposed: bool = False  # whether height and width of the source's images were exchanged
    form: Form | None = MNIST_FORM  # size and place of strokes; None: no strokes, but things that fill the images


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write `dataset` as JSON. Fields with their default value are left out."""
    write_json(path, dataset.model_dump(mode="json", exclude_defaults=True))


def read_dataset(path: Path) -> Dataset:
    """Read the file that `write_dataset` wrote. Raise InputError if it is missing or damaged."""
    see_file(path)
    try:
        return Dataset.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        received = "no such file"
    except ValidationError as error:
        received = f"a damaged file ({error.errors()[0]['msg']})"
    expected = "the description of the data set that `load` writes"
    raise InputError(str(path), expected=expected, received=received, hint="Run `dvc repro`.")
