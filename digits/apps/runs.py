"""A run, read from dvc.lock and metrics/, in the work tree or in an earlier commit."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from digits.apps.options import Files
from digits.apps.results import Epoch, History, Score, parse_rows, parse_scores, read
from dvcproof.git import AbsentError, changed_files, git_text, is_shallow
from dvcproof.lockfile import Lock, parse_lock
from dvcproof.runtime.program import InputError

Content = TypeVar("Content")

#: The next step where a commit is missing.
ANOTHER = "Name another commit; in a shallow clone, run `git fetch --unshallow` first."


class Run(NamedTuple):
    """The inputs and the results of a run."""

    lock: Lock
    scores: dict[str, Score]  # test, train, validation if there is such a split, gap
    epochs: list[Epoch]
    labels: NDArray[np.intp]  # [n], of the test images
    predicted: NDArray[np.intp]  # [n], the classes that the model predicted


class Earlier(NamedTuple):
    """The run that this one is compared with."""

    commit: str  # abbreviated hash
    subject: str  # first line of the commit message
    run: Run


def read_run(files: Files, commit: str = "") -> Run:
    """Read a run in the work tree, or in a commit.

    Raises:
        InputError: a file is missing or damaged.
        AbsentError: the commit does not hold a file.
    """

    def part(path: Path, parse: Callable[[str], Content]) -> Content:
        if not commit:
            return read(path, parse)
        hint = "Name another commit with --against."
        return read(
            path, parse, text_of=lambda path: committed_text(files, commit, path), where=f"{commit}:", hint=hint
        )

    numbers = part(files.metrics / "per_class.csv", _numbers)
    labels, predicted = part(files.metrics / "confusion.csv", lambda text: _pairs(text, numbers))
    scores = part(files.metrics / "scores.json", parse_scores)
    history = part(files.metrics / "history.json", History.model_validate_json)
    return Run(part(files.lock, _lock), scores, history.epochs, labels, predicted)


def _lock(text: str) -> Lock:
    lock = parse_lock(text)
    if not lock.stages:
        raise ValueError("without stages")
    return lock


def _numbers(text: str) -> dict[str, int]:
    """Return the number of each class by its name."""
    return {row["label"]: number for number, row in enumerate(parse_rows(text))}


def _pairs(text: str, numbers: dict[str, int]) -> NDArray[np.intp]:
    """Return the labels and the predicted classes: [2, n]."""
    pairs = [(numbers[row["label"]], numbers[row["predicted"]]) for row in parse_rows(text)]
    if not pairs:
        raise ValueError("without predictions")
    return np.array(pairs, np.intp).T


def earlier_run(files: Files, revision: str | None, *, committed: bool) -> Earlier | str:
    """Return the run to compare with, or why there is none.

    It is that of the commit `revision`. None: that of the last commit, or the one before if this run is `committed`.

    Raises:
        InputError: the named commit does not exist, or holds no run; the run in a commit is damaged; or Git fails.
    """
    try:
        if revision is None and committed:
            # The last commit but one that changed the run.
            names = [_name(files, path) for path in (files.lock, files.metrics)]
            found = git_text(files.lock.parent, "log", "-2", "--format=%h %s", "--", *names).splitlines()
            if len(found) < 2 and is_shallow(files.lock.parent):
                return "Git has none here: this clone is shallow, and `git fetch --unshallow` brings the older commits"
            if len(found) < 2:
                return "Git has none: the committed run is the first"
            described = found[1]
        else:
            described = _describe(files.lock.parent, "HEAD" if revision is None else revision)
        commit, _, subject = described.partition(" ")
        return Earlier(commit, subject, read_run(files, commit))
    except AbsentError as error:
        if revision is None:
            return f"Git has none: {error.words}"
        raise InputError(f"--against {revision}", f"there is no run: {error.words}", hint=ANOTHER) from None


def _describe(root: Path, revision: str) -> str:
    """Return the hash and the subject of a commit. A tree or a range is refused: Git would show files of the index."""
    try:
        commit = git_text(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    except AbsentError as error:
        if not any(words in error.words for words in ("Needed a single revision", f"{revision}^{{commit}}")):
            raise  # there is no Git, or no repository
        commit = ""
    if not commit.isalnum():  # '^main' gives '^' and the hash
        raise AbsentError("rev-parse", f"fatal: bad revision '{revision}'")
    return git_text(root, "log", "-1", "--format=%h %s", commit, "--").strip()


def uncommitted(files: Files) -> list[str] | None:
    """Return which of params.yaml, dvc.lock and metrics differ from the last commit. None: there is no Git or commit.

    Raises:
        GitError: Git fails.
    """
    root = files.lock.parent
    names = [_name(files, path) for path in (files.params, files.lock, files.metrics)]
    try:
        git_text(root, "rev-parse", "--verify", "HEAD")
        return [name for name in names if changed_files(root, name)]
    except AbsentError:
        return None


def committed_text(files: Files, commit: str, path: Path) -> str:
    """Return the text of a file in a commit.

    Raises:
        GitError: there is no such commit, or it has no such file.
    """
    return git_text(files.lock.parent, "show", f"{commit}:./{_name(files, path)}")


def _name(files: Files, path: Path) -> str:
    return os.path.relpath(path, files.lock.parent)
