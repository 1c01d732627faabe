"""The description of a data set in one small file beside its arrays: image size, classes, and what `load` changed."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from digits.data.classes import MOST_CLASSES
from dvcproof.runtime.bounds import read_bytes
from dvcproof.runtime.files import write_json
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Length in pixels of the shortest and the longest side of an image, and the number of channels of a colour image.
SHORTEST, LONGEST, RGB = 8, 128, 3

#: Height and width in pixels, and 3 if the images are RGB.
ImageShape = Annotated[
    tuple[PositiveInt, PositiveInt] | tuple[PositiveInt, PositiveInt, Literal[3]], Field(union_mode="left_to_right")
]


class Form(BaseModel):
    """Where the images have their strokes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: PositiveInt  # longer side of the box around the strokes in pixels, the median
    centred_by: Literal["mass", "box"]  # what lies in the centre of the image


#: The form of MNIST: the default if a data set's description has none.
MNIST_FORM = Form(box=20, centred_by="mass")


class ImagesPerClass(BaseModel):
    """How many images of each class the two sets have, in the order of the labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[NonNegativeInt]
    test: list[NonNegativeInt]


class Dataset(BaseModel):
    """The facts that do not depend on where the data set came from: equal arrays give equal facts.

    The stored images are light ink on dark and upright, whatever the source has: `digits.sources.images`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: ImageShape
    classes: list[str] = Field(min_length=2, max_length=MOST_CLASSES)  # names, in the order of the labels
    images: ImagesPerClass
    #: The source's ink, stored inverted if dark. None: not ink on paper, but for example photographs.
    ink: Literal["light", "dark"] | None
    highest: int = Field(default=255, ge=0, le=255)  # the source's highest level, if levels were stretched to 255
    transposed: bool = False  # whether height and width of the source's images were exchanged
    form: Form | None = MNIST_FORM  # where strokes lie in the images; None: things fill the images


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write `dataset` as JSON. Facts with their default are left out."""
    write_json(path, dataset.model_dump(mode="json", exclude_defaults=True))


def read_dataset(path: Path) -> Dataset:
    """Read what `write_dataset` wrote. Raises InputError if the file is missing or damaged."""
    see_file(path)
    try:
        return Dataset.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        received = "no such file"
    except ValidationError as error:
        received = f"a damaged file ({error.errors()[0]['msg']})"
    expected = "the description of the data set that `load` writes"
    raise InputError(str(path), expected=expected, received=received, hint="Run `dvc repro`.")
