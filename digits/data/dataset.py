"""What a data set is, in one small file beside its arrays: whoever needs the number of classes reads it here."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from digits.common.bounds import read_bytes
from digits.common.cli import InputError
from digits.common.files import write_json
from digits.common.inputs import see_file
from digits.data.labels import MOST_CLASSES


class ImagesPerClass(BaseModel):
    """How many images of each class the two sets have, in the order of the labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[NonNegativeInt]
    test: list[NonNegativeInt]


class Dataset(BaseModel):
    """The facts that do not depend on where the data set came from: equal arrays give equal facts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_shape: tuple[PositiveInt, PositiveInt]  # height and width in pixels
    classes: list[str] = Field(min_length=2, max_length=MOST_CLASSES)  # names, in the order of the labels
    images: ImagesPerClass
    ink: Literal["light", "dark"]  # light: more than half of the brightness range is background


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write `dataset` as JSON."""
    write_json(path, dataset.model_dump(mode="json"))


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
