"""The rules for params.yaml: a model of each section, a model of the whole file, and `read_params`, which checks it.

All stages depend on this module, so it is kept small. The error messages are in `digits.param_errors`, and
`digits.networks` builds the networks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from digits.data.classes import LONGEST_NAME, MOST_CLASSES, is_allowed_name
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.watch import see_params


class Section(BaseModel):
    """Base class of all models: immutable, without unknown names, without conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Transpose = Annotated[
    bool | Literal["auto"],
    Field(description="true, false or auto: whether height and width of the images are to be exchanged"),
]


class LoadParams(Section):
    """The section `load`."""

    source: str = Field(min_length=1)
    test_size: int = Field(ge=0)
    transpose: Transpose


class PreprocessParams(Section):
    """The section `preprocess`."""

    validation_size: int = Field(ge=0)


class TrainParams(Section):
    """The section `train`, which all networks share. `model` is the name of the section of one network."""

    model: Literal["dense", "convnet"]
    seed: int = Field(ge=0, lt=2**32)
    shards: int = Field(ge=1, le=64)
    device: Literal["cpu", "gpu"]


class NetworkParams(Section):
    """The parameters that the sections of all networks have."""

    optimizer: Literal["rmsprop", "adam", "sgd"]
    learning_rate: float = Field(gt=0, le=10)
    epochs: int = Field(ge=1, le=10000)
    batch_size: int = Field(ge=1, le=65536)


class DenseParams(NetworkParams):
    """The section `dense`."""

    units: int = Field(ge=1, le=65536)


class ConvnetParams(NetworkParams):
    """The section `convnet`."""

    filters: int = Field(ge=1, le=1024)  # in the first convolution; the others have two, three and four times as many
    warmup: float = Field(ge=0, le=1)
    shift: float = Field(ge=0, le=14)
    distortion: float = Field(ge=0, le=0.5)


class EvaluateParams(Section):
    """The section `evaluate`."""

    batch_size: int = Field(ge=1, le=10**6)
    views: int = Field(ge=1, le=11)  # as many as exactkeras.augment.VIEWS
    worst: int = Field(ge=1, le=100)


def _allowed_names(names: list[str]) -> list[str]:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} of them")
    for name in names:
        if not is_allowed_name(name):
            raise ValueError(repr(name))
        if names.count(name) > 1:
            raise ValueError(f"{name!r} twice")
    return names


ClassNames = Annotated[
    Annotated[list[str], AfterValidator(_allowed_names)] | None,
    Field(
        description=f"null or a list of 2 to {MOST_CLASSES} different names, each a text of 1 to {LONGEST_NAME} "
        "characters in one line, in quotes if it is a number"
    ),
]


class Params(Section):
    """The whole file. Sections that were not requested from `read_params` are None: the stage must not use them."""

    load: LoadParams
    preprocess: PreprocessParams
    train: TrainParams
    dense: DenseParams
    convnet: ConvnetParams
    evaluate: EvaluateParams
    class_names: ClassNames

    @field_validator("*", mode="wrap")
    @classmethod
    def _check_what_is_read(cls, value: object, check: Callable[[object], Any], info: ValidationInfo) -> Any:
        return check(value) if info.field_name in info.context else None  # type: ignore[operator]


def read_params(path: Path, *names: str) -> Params:
    """Read and check some sections. Wrong values in other sections are ignored, but unknown sections are not.

    Raise InputError if the file cannot be read, or if a name or a value in it is not allowed.
    """
    document = read_mapping(path)
    see_params(path, {name: document.get(name) for name in names}, read_mapping)
    others = dict.fromkeys(name for name in Params.model_fields if name not in names)
    try:
        return Params.model_validate(others | document, context=names)
    except ValidationError as error:
        from digits.param_errors import refusal

        raise refusal(error, path) from None
