"""The section `evaluate` of params.yaml."""

from pydantic import Field

from digits.data.labels import ClassNames
from digits.params import Params
from exactkeras.warp import VIEWS


class EvaluateParams(Params):
    """The section, and the shared value `class_names`."""

    class_names: ClassNames
    batch_size: int = Field(ge=1, le=10**6)
    views: int = Field(ge=1, le=len(VIEWS))
    worst: int = Field(ge=1, le=100)
