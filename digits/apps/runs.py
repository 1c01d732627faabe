"""A run, read from dvc.lock and metrics/, in the work tree or in an earlier commit."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from dvcproof.git import AbsentError, changed_files, git_text
from dvcproof.lockfile import REDO, Lock, parse_lock
from dvcproof.runtime.bounds import parse_csv, read_text
from dvcproof.runtime.program import InputError

Content = TypeVar("Content")

#: The next step where a commit is not there.
ANOTHER = "Name another commit; in a shallow clone, run `git fetch --unshallow` first."


#: Bytes of the largest file of a run: predictions of some hundred thousand images.
RUN_BYTES = 2**23


class Score(BaseModel):
    """Accuracy and loss of a split, or the gap between two."""

    model_config = ConfigDict(allow_inf_nan=False)

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


class Run(NamedTuple):
    """The inputs and the results of a run."""

    lock: Lock
    scores: dict[str, Score]  # test, train, validation if there is one, gap
    epochs: list[Epoch]
    labels: NDArray[np.intp]  # [n], of the test images
    predicted: NDArray[np.intp]  # [n], the classes that the model predicted


class RunFiles(NamedTuple):
    """Where a run's files lie: paths of the work tree, in which an earlier commit is searched too."""

    params: Path
    lock: Path
    metrics: Path


def read_run(read: Callable[[Path], str], files: RunFiles, *, where: str, hint: str) -> Run:
    """Read a run.

    Args:
        read: gives the text of a file.
        files: the files.
        where: what stands before a file's name in an error, as 'HEAD:'.
        hint: what to do about a damaged file.

    Raises:
        InputError: a file is damaged.
        FileNotFoundError: a file is missing.
        AbsentError: a commit does not hold a file.
    """

    def parse(path: Path, parser: Callable[[str], Content]) -> Content:
        try:
            return parser(read(path))
        except (OSError, InputError):
            raise
        except Exception as error:  # the readers of YAML, JSON and CSV raise many kinds
            raise InputError(
                f"{where}{path}",
                expected="what the pipeline writes",
                received=f"a damaged file ({type(error).__name__}: {str(error)[:200]})",
                hint=hint,
            ) from None

    names = parse(files.metrics / "per_class.csv", _names)
    labels, predicted = parse(files.metrics / "confusion.csv", lambda text: _pairs(text, names))
    return Run(
        parse(files.lock, _lock),
        parse(files.metrics / "scores.json", _scores),
        parse(files.metrics / "history.json", History.model_validate_json).epochs,
        labels,
        predicted,
    )


def this_run(files: RunFiles) -> Run:
    """The run in the work tree.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        return read_run(lambda path: read_text(path, RUN_BYTES), files, where="", hint=REDO)
    except FileNotFoundError as error:
        raise InputError(
            str(error.filename), expected="what the pipeline writes", received="no such file", hint=REDO
        ) from None


def _lock(text: str) -> Lock:
    lock = parse_lock(text)
    if not lock.stages:
        raise ValueError("without stages")
    return lock


def _scores(text: str) -> dict[str, Score]:
    scores = TypeAdapter(dict[str, Score]).validate_json(text)
    if not {"test", "train", "gap"} <= set(scores):
        raise ValueError("without test, train or gap")
    return scores


def _names(text: str) -> list[str]:
    """The classes, in the order of their labels."""
    return [row["label"] for row in parse_csv(text)]


def _pairs(text: str, names: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    number = {name: label for label, name in enumerate(names)}
    rows = [(number[row["label"]], number[row["predicted"]]) for row in parse_csv(text)]
    if not rows:
        raise ValueError("without predictions")
    pairs = np.array(rows, np.intp).reshape(len(rows), 2)
    return pairs[:, 0], pairs[:, 1]


class Earlier(NamedTuple):
    """The run that this one is compared with."""

    commit: str  # abbreviated hash
    subject: str  # first line of the commit's message
    run: Run


def earlier_run(files: RunFiles, revision: str | None, *, committed: bool) -> Earlier | str:
    """The run to compare with, or why there is none.

    Args:
        files: the files of this run.
        revision: the commit to take it from. None: the last; or the run before, if the last holds this very run.
        committed: whether the last commit holds this run.

    Raises:
        InputError: the named commit does not exist, or holds no run; the run in a commit is damaged; or Git refuses.
    """
    root = files.lock.parent
    try:
        if revision is None and committed:
            described = _one_before(files)
            if not described:
                return "Git has none: the committed run is the first"
        else:
            described = _describe(root, "HEAD" if revision is None else revision)
        commit, _, subject = described.partition(" ")
        hint = "Name another commit with --against."
        run = read_run(lambda path: committed_text(root, commit, path), files, where=f"{commit}:", hint=hint)
    except AbsentError as error:
        if revision is None:
            return f"Git has none: {error.words}"
        raise InputError(
            f"--against {revision}", expected="a commit with a run", received=error.words, hint=ANOTHER
        ) from None
    return Earlier(commit, subject, run)


def _describe(root: Path, revision: str) -> str:
    """Hash and subject of one commit; a tree or a range has none, and its files would be taken from the index."""
    try:
        commit = git_text(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    except AbsentError as error:
        if not any(words in error.words for words in ("Needed a single revision", f"{revision}^{{commit}}")):
            raise  # there is no Git, or no repository
        commit = ""
    if not commit.isalnum():  # '^main' gives '^', and the hash
        raise AbsentError("rev-parse", f"fatal: bad revision '{revision}'")
    return git_text(root, "log", "-1", "--format=%h %s", commit, "--").strip()


def _one_before(files: RunFiles) -> str:
    """The last commit whose run is not the committed one: the last but one that changed it. Empty: there is none."""
    root = files.lock.parent
    names = [os.path.relpath(path, root) for path in (files.lock, files.metrics)]
    found = git_text(root, "log", "-2", "--format=%h %s", "--", *names).splitlines()
    return found[1] if len(found) > 1 else ""


def uncommitted(files: RunFiles) -> list[str] | None:
    """Which of a run's files differ from the last commit. None without Git or a commit.

    Raises:
        GitError: Git refuses.
    """
    root = files.lock.parent
    names = [os.path.relpath(path, root) for path in files]
    try:
        git_text(root, "rev-parse", "--verify", "HEAD")
        return [name for name in names if changed_files(root, name)]
    except AbsentError:
        return None


def committed_text(root: Path, commit: str, path: Path) -> str:
    """The text of a file in a commit.

    Args:
        root: of the project.
        commit: which.
        path: of the file in the work tree.

    Raises:
        GitError: there is no such commit, or no such file in it.
    """
    return git_text(root, "show", f"{commit}:./{os.path.relpath(path, root)}")
