"""A run as its text files tell it, dvc.lock and metrics, be they in the work tree or in an earlier commit."""

import csv
import io
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter
from ruamel.yaml import YAML

from stages.console import InputError
from stages.train import Recipe

Content = TypeVar("Content")

#: What `preprocess` calls the test set.
TEST_SET = ("test_features.npy", "test_labels.npy")


class Score(BaseModel):
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


class File(BaseModel):
    """A dependency or an output, as dvc.lock records it."""

    path: str
    md5: str | None = None  # None: a download, which has other marks
    size: int | None = None


class Stage(BaseModel):
    """A stage in dvc.lock."""

    deps: list[File] = []
    params: dict[str, dict[str, Any]] = {}
    outs: list[File] = []


class Lock(BaseModel):
    """dvc.lock."""

    stages: dict[str, Stage] = Field(min_length=1)

    def params(self) -> dict[str, Any]:
        """Every parameter that a stage ran with, by its whole name: 'train.seed'."""
        files = (values for stage in self.stages.values() for values in stage.params.values())
        return {name: value for values in files for name, value in flat(values).items()}

    def inputs(self) -> dict[str, str | None]:
        """The hashes of the files that no stage wrote: code, data and the list of packages."""
        written = {file.path for stage in self.stages.values() for file in stage.outs}
        files = (file for stage in self.stages.values() for file in stage.deps)
        return {file.path: file.md5 for file in files if file.path not in written}

    def test_set(self) -> dict[str, str | None]:
        """The hashes of the files that the model was tested on."""
        files = (file for stage in self.stages.values() for file in stage.deps)
        return {file.path: file.md5 for file in files if Path(file.path).name in TEST_SET}


class Run(NamedTuple):
    """What a run was given and what it gave."""

    lock: Lock
    scores: dict[str, Score]  # test, train, validation if there is one, gap
    epochs: list[Epoch]
    labels: NDArray[np.intp]  # [n], of the test images
    predicted: NDArray[np.intp]  # [n], the classes that the model said they were


class Sources(NamedTuple):
    """Where a run's files lie: paths of the work tree, in which an earlier commit is searched too."""

    params: Path
    lock: Path
    metrics: Path


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping of mappings as one mapping, with names joined by dots. A list counts as one value."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result


def of_the_model(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without those of the network that was not trained."""
    if parameters.get("train.model") == "convnet":
        other = {f"train.{name}" for name in ("units", *Recipe.model_fields)}
    else:
        other = {name for name in parameters if name.startswith("convnet.")}
    return {name: value for name, value in parameters.items() if name not in other}


def read_run(read: Callable[[Path], str], sources: Sources, *, where: str, hint: str) -> Run:
    """Read a run.

    Args:
        read: gives the text of a file.
        sources: the files.
        where: what stands before a file's name in an error, as 'HEAD:'.
        hint: what to do about a damaged file.

    Raises:
        InputError: a file is damaged.
        FileNotFoundError: a file is missing.
    """

    def parse(path: Path, parser: Callable[[str], Content]) -> Content:
        try:
            return parser(read(path))
        except OSError:
            raise
        except Exception as error:  # the readers of YAML, JSON and CSV raise many kinds
            raise InputError(
                f"{where}{path}",
                expected="what the pipeline writes",
                received=f"a damaged file ({type(error).__name__}: {str(error)[:200]})",
                hint=hint,
            ) from None

    names = parse(sources.metrics / "per_class.csv", _names)
    labels, predicted = parse(sources.metrics / "confusion.csv", lambda text: _pairs(text, names))
    return Run(
        parse(sources.lock, lambda text: Lock.model_validate(YAML(typ="safe").load(text))),
        parse(sources.metrics / "scores.json", _scores),
        parse(sources.metrics / "history.json", History.model_validate_json).epochs,
        labels,
        predicted,
    )


def this_run(sources: Sources) -> Run:
    """The run in the work tree.

    Raises:
        InputError: a file is missing or damaged.
    """
    redo = "Run `dvc repro`."
    try:
        return read_run(lambda path: path.read_text(encoding="utf-8"), sources, where="", hint=redo)
    except FileNotFoundError as error:
        raise InputError(
            str(error.filename), expected="what the pipeline writes", received="no such file", hint=redo
        ) from None


def _scores(text: str) -> dict[str, Score]:
    scores = TypeAdapter(dict[str, Score]).validate_json(text)
    if not {"test", "train", "gap"} <= set(scores):
        raise ValueError("without test, train or gap")
    return scores


def _names(text: str) -> list[str]:
    """The classes, in the order of their labels."""
    return [row["label"] for row in csv.DictReader(io.StringIO(text), strict=True)]


def _pairs(text: str, names: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    number = {name: label for label, name in enumerate(names)}
    rows = [(number[row["label"]], number[row["predicted"]]) for row in csv.DictReader(io.StringIO(text), strict=True)]
    pairs = np.array(rows, np.intp).reshape(len(rows), 2)
    return pairs[:, 0], pairs[:, 1]


class Earlier(NamedTuple):
    """The run that this one is compared with."""

    commit: str  # abbreviated hash
    subject: str  # first line of the commit's message
    run: Run


def earlier_run(sources: Sources, revision: str | None, *, committed: bool) -> Earlier | str:
    """The run to compare with, or why there is none.

    Args:
        sources: the files of this run.
        revision: the commit to take it from. None: the last; or the run before, if the last holds this very run.
        committed: whether the last commit holds this run.

    Raises:
        InputError: the named commit does not exist, or holds no run; or the run in a commit is damaged.
    """
    root = sources.lock.parent
    try:
        if revision is None and committed:
            described = _one_before(sources)
        else:
            described = _describe(root, "HEAD" if revision is None else revision)
        commit, _, subject = described.partition(" ")
        hint = "Name another commit with --against."
        run = read_run(lambda path: _committed(root, commit, path), sources, where=f"{commit}:", hint=hint)
    except FileNotFoundError as error:
        if revision is None:
            return f"Git has none: {error}"
        raise InputError(
            f"--against {revision}", expected="a commit with a run", received=str(error), hint="Name another commit."
        ) from None
    return Earlier(commit, subject, run)


def _describe(root: Path, revision: str) -> str:
    return _git(root, "log", "-1", "--format=%h %s", "--end-of-options", revision, "--").strip()


def _one_before(sources: Sources) -> str:
    """The last commit with another run than the committed one: the last but one that changed it."""
    root = sources.lock.parent
    names = [os.path.relpath(path, root) for path in (sources.lock, sources.metrics)]
    found = _git(root, "log", "-2", "--format=%h %s", "--", *names).splitlines()
    if len(found) < 2:
        raise FileNotFoundError("the committed run is the first")
    return found[1]


def uncommitted(sources: Sources) -> list[str] | None:
    """Which of a run's files differ from the last commit. None without Git or a commit."""
    root = sources.lock.parent
    names = [os.path.relpath(path, root) for path in sources]
    try:
        _git(root, "rev-parse", "--verify", "HEAD")
        return [name for name in names if _git(root, "status", "--porcelain", "--", name)]
    except FileNotFoundError:
        return None


def _committed(root: Path, commit: str, path: Path) -> str:
    return _git(root, "show", f"{commit}:./{os.path.relpath(path, root)}")


def _git(folder: Path, *arguments: str) -> str:
    """What Git prints.

    Raises:
        FileNotFoundError: Git is missing or does not have it; the text is Git's own first line.
    """
    try:
        # A user's settings could put signatures between the lines.
        command = ["git", "-C", str(folder), "-c", "log.showSignature=false", *arguments]
        result = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise FileNotFoundError("it is not installed") from None
    if result.returncode:
        raise FileNotFoundError(result.stderr.decode(errors="replace").split("\n")[0].removeprefix("fatal: "))
    return result.stdout.decode(errors="replace")
