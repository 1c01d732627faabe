"""What a data set is, in one small file beside its arrays: whoever needs the number of classes reads it here."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from digits.data.form import MNIST_FORM, Form
from digits.data.labels import MOST_CLASSES
from dvcproof.runtime.bounds import read_bytes
from dvcproof.runtime.files import write_json
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file


class ImagesPerClass(BaseModel):
    """How many images of each class the two sets have, in the order of the labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[NonNegativeInt]
    test: list[NonNegativeInt]


#: Pixels of the shortest and of the longest side of an image, and how many values a pixel of a colour image has.
SHORTEST, LONGEST, RGB = 8, 128, 3

#: Height and width in pixels, and 3 if the images are RGB.
ImageShape = Annotated[
    tuple[PositiveInt, PositiveInt] | tuple[PositiveInt, PositiveInt, Literal[3]], Field(union_mode="left_to_right")
]


class Dataset(BaseModel):
    """The facts that do not depend on where the data set came from: equal arrays give equal facts.

    The stored images are light ink on dark, upright, whatever those of the source are: `digits.sources.orientation`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: ImageShape
    classes: list[str] = Field(min_length=2, max_length=MOST_CLASSES)  # names, in the order of the labels
    images: ImagesPerClass
    ink: (
        Literal["light", "dark"] | None
    )  # of the source, stored inverted if dark. None: no ink on paper, as photographs
    highest: int = Field(default=255, ge=0, le=255)  # level of the source's brightest pixel, if stretched to 255
    transposed: bool = False  # whether height and width of the source's images were exchanged
    form: Form | None = MNIST_FORM  # where strokes lie in the images; None: things fill the images


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write `dataset` as JSON. What was done to the images is left out where it was nothing."""
    write_json(path, dataset.model_dump(mode="json", exclude_defaults=True))


def read_dataset(path: Path) -> Dataset:
    """Read what `write_dataset` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    see_file(path)
    try:
        return Dataset.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        received = "no such file"
    except ValidationError as error:
        received = f"a damaged file ({error.errors()[0]['msg']})"
    raise InputError(
        str(path),
        expected="the description of the data set that `load` writes",
        received=received,
        hint="Run `dvc repro`.",
    )


def require_image_shape(name: str, image_shape: tuple[int, ...]) -> None:
    """Refuse images that are too small, too large, or neither grey nor RGB.

    Args:
        name: what the images are called in the message.
        image_shape: of one image.

    Raises:
        InputError: a side is not within SHORTEST and LONGEST, or there are other axes than the two and three channels.
    """
    sides, channels = image_shape[:2], image_shape[2:]
    if len(sides) < 2 or channels not in ((), (RGB,)) or not all(SHORTEST <= side <= LONGEST for side in sides):
        raise InputError(
            name,
            expected=f"images of {SHORTEST} x {SHORTEST} to {LONGEST} x {LONGEST} pixels, [n, height, width] if grey "
            "or [n, height, width, 3] if RGB",
            received=f"[{', '.join(map(str, ('n', *image_shape)))}]",
            hint="Resize the images to one size within these.",
        )
