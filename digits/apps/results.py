"""Read the files in metrics/ and similar files, in the working tree or in a commit."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, TypeAdapter

from digits.params import read_params
from dvcproof.git import git_text
from dvcproof.lockfile import REDO
from dvcproof.runtime.bounds import parse_csv, parse_json, read_text
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten

Content = TypeVar("Content")

#: The most bytes of a file. This is enough for the predictions of some hundred thousand images.
MOST_BYTES = 2**23

#: The metrics that metrics/scores.json must have. It may have other numbers, which are shown too.
REQUIRED = [f"{split}.{name}" for split in ("test", "train", "gap") for name in ("accuracy", "loss")]

#: The metrics that metrics/scores.json also has if there is a validation split.
VALIDATION = ["validation.accuracy", "validation.loss"]

#: Metrics by their full names, as in `dvc metrics diff`: 'test.accuracy'.
Scores = dict[str, Annotated[float, Strict(), Field(allow_inf_nan=False)]]


class Epoch(BaseModel):
    """The metrics that Keras measured in one epoch."""

    model_config = ConfigDict(allow_inf_nan=False)

    epoch: int
    accuracy: float
    loss: float
    val_accuracy: float | None = None
    val_loss: float | None = None


class History(BaseModel):
    """The content of metrics/history.json."""

    epochs: list[Epoch] = Field(min_length=1)


def parse_scores(text: str) -> Scores:
    """Parse metrics/scores.json. Raise ValueError if a value is not a number, or a metric is missing."""
    scores = flatten(parse_json(text))
    if missing := [name for name in REQUIRED if name not in scores]:
        raise ValueError(f"without {', '.join(missing)}")
    return TypeAdapter(Scores).validate_python(scores)


def added(scores: Scores) -> Scores:
    """Return the metrics other than accuracy and loss of training, validation and test."""
    return {name: value for name, value in scores.items() if name not in (*REQUIRED, *VALIDATION)}


def parse_rows(text: str) -> list[dict[str, str]]:
    """Parse a CSV file with a header line."""
    return list(parse_csv(text))


def read(
    path: Path, parse: Callable[[str], Content], hint: str = REDO, *, commit: str = "", root: Path = Path()
) -> Content:
    """Read and parse a file in the working tree, or in a commit of the repository at `root`.

    Raise InputError if the file is missing in the working tree, or if `parse` raises any exception. Raise AbsentError
    if the commit does not have the file.
    """
    try:
        return parse(committed_text(root, commit, path) if commit else read_text(path, MOST_BYTES))
    except FileNotFoundError:
        problem = "there is no such file"
    except (OSError, InputError):
        raise
    except Exception as error:  # the parsers of YAML, JSON and CSV raise many kinds of errors
        problem = f"the content is not valid ({type(error).__name__}: {str(error)[:200]})"
    raise InputError(f"{commit}:{path}" if commit else str(path), problem, hint=hint)


def committed_text(root: Path, commit: str, path: Path) -> str:
    """Return the text of a file in a commit. Raise GitError if there is no such commit or file."""
    return git_text(root, "show", f"{commit}:./{os.path.relpath(path, root)}")


def study_params(path: Path, model: str | None = None, *, scored: bool = True) -> dict[str, Any]:
    """Return the parameters for which a study over seeds is valid: all that can change a score, without the seed.

    `model` is another value of `train.model` than that in the file. `scored` says whether the study runs `evaluate`.
    Raise InputError if the file cannot be read, or a section is missing or wrong.
    """
    chosen = model or read_params(path, "train").train.model
    params = read_params(path, "load", "preprocess", "train", "evaluate", chosen)
    found = params.model_dump(include={"load", "preprocess", "train", chosen}, exclude={"train": {"seed"}})
    found["train"]["model"] = chosen
    return found | ({"evaluate": {"views": params.evaluate.views}} if scored else {})
