"""The specification of the model card's front matter, and the files of a run as options."""

import re
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from digits.apps.options import Files

#: The files of the run, under their default names in the working folder.
SOURCES = Files()


class Part(BaseModel):
    """A mapping in Hugging Face's format (github.com/huggingface/hub-docs, modelcard.md). Other keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Task(Part):
    type: Literal["image-classification"]
    name: str = ""


class DataSet(Part):
    type: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")
    name: str = Field(min_length=1)
    split: str = ""


class Metric(Part):
    type: str = Field(pattern=r"^[a-z_]+$")
    value: float
    name: str = ""


class Result(Part):
    task: Task
    dataset: DataSet
    metrics: list[Metric] = Field(min_length=1)


class Model(Part):
    name: str = Field(min_length=1)
    results: list[Result] = Field(min_length=1)


class FrontMatter(Part):
    license: str = Field(pattern=r"^[a-z0-9.-]+$")
    library_name: Literal["keras"]
    pipeline_tag: Literal["image-classification"]
    tags: list[str]
    datasets: list[str] = Field(default=[], min_length=1)
    metrics: list[str] = Field(min_length=1)
    model_index: list[Model] = Field(alias="model-index", min_length=1, max_length=1)


def front_matter(text: str) -> dict[str, Any]:
    """Return the front matter of a card."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match is not None
    return dict(yaml.safe_load(match[1]))
