"""Typed readers of the files in metrics/, of the study over seeds, and of the record of the machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from dvcproof.lockfile import REDO
from dvcproof.runtime.bounds import parse_csv, read_text
from dvcproof.runtime.program import InputError

Content = TypeVar("Content")

#: The size of the largest file: predictions of some hundred thousand images.
MOST_BYTES = 2**23


class Finite(BaseModel):
    """Base of the models: every number is finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Score(Finite):
    """Accuracy and loss of a split, or the gap between two."""

    accuracy: float
    loss: float


class Epoch(Score):
    """What Keras measured in one epoch."""

    epoch: int
    val_accuracy: float | None = None
    val_loss: float | None = None


class History(BaseModel):
    """metrics/history.json."""

    epochs: list[Epoch] = Field(min_length=1)


class Spread(Finite):
    """A figure over several seeds."""

    mean: float
    std: float
    n: int
    min: float
    max: float


class Seeds(BaseModel):
    """bench/results/seeds.json."""

    params: dict[str, Any]  # that the study is valid for
    test_accuracy: Spread
    train_accuracy: Spread


class Platform(BaseModel):
    """data/platform.json. Whatever else it holds is shown as it is."""

    model_config = ConfigDict(extra="allow")

    model_sha256: str
    may_differ_in_bits_because: list[str] = []
    cpu_flags: list[str] = []


def _complete(scores: dict[str, Score]) -> dict[str, Score]:
    if missing := {"test", "train", "gap"} - set(scores):
        raise ValueError(f"without {', '.join(sorted(missing))}")
    return scores


#: Parse metrics/scores.json: test, train, validation if there is such a split, and gap.
parse_scores = TypeAdapter(Annotated[dict[str, Score], AfterValidator(_complete)]).validate_json


def parse_rows(text: str) -> list[dict[str, str]]:
    """Parse a CSV file with a header line."""
    return list(parse_csv(text))


def read(
    path: Path,
    parse: Callable[[str], Content],
    *,
    text_of: Callable[[Path], str] = lambda path: read_text(path, MOST_BYTES),
    where: str = "",
    hint: str = REDO,
) -> Content:
    """Read and parse a file.

    `parse` may raise any exception. `where` stands before the path in an error: 'HEAD:'.
    """
    try:
        return parse(text_of(path))
    except FileNotFoundError:
        raise InputError(f"{where}{path}", "there is no such file", hint=hint) from None
    except (OSError, InputError):
        raise
    except Exception as error:  # the parsers of YAML, JSON and CSV raise many kinds
        problem = f"the content is not valid ({type(error).__name__}: {str(error)[:200]})"
        raise InputError(f"{where}{path}", problem, hint=hint) from None
