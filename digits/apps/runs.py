"""Read runs from dvc.lock and metrics/ in the working tree or in an earlier commit."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from digits.apps.options import Files
from digits.apps.results import Epoch, History, Scores, parse_rows, parse_scores, read
from dvcproof.git import AbsentError, changed_files, git_text, is_shallow
from dvcproof.lockfile import REDO, Lock, parse_lock
from dvcproof.runtime.program import InputError

Content = TypeVar("Content")

#: The next step if a commit is missing.
ANOTHER = "Name another commit; in a shallow clone, run `git fetch --unshallow` first."


class Run(NamedTuple):
    """The inputs and the results of a run."""

    lock: Lock
    scores: Scores
    epochs: list[Epoch]
    labels: NDArray[np.intp]  # [n], of the test images
    predicted: NDArray[np.intp]  # [n], the classes that the model predicted


class Earlier(NamedTuple):
    """The earlier run with which a run is compared."""

    commit: str  # abbreviated hash
    subject: str  # first line of the commit message
    run: Run


def read_run(files: Files, commit: str = "") -> Run:
    """Read a run in the working tree, or in a commit.

    Raise InputError if a file is missing or damaged. Raise AbsentError if the commit does not have a file.
    """
    hint = "Name another commit with --against." if commit else REDO

    def part(path: Path, parse: Callable[[str], Content]) -> Content:
        return read(path, parse, hint, commit=commit, root=files.lock.parent)

    classes = part(files.metrics / "per_class.csv", lambda text: [row["label"] for row in parse_rows(text)])
    numbers = {name: number for number, name in enumerate(classes)}
    labels, predicted = part(files.metrics / "confusion.csv", lambda text: _pairs(text, numbers))
    scores = part(files.metrics / "scores.json", parse_scores)
    epochs = part(files.metrics / "history.json", History.model_validate_json).epochs
    return Run(part(files.lock, _lock), scores, epochs, labels, predicted)


def _lock(text: str) -> Lock:
    if not (lock := parse_lock(text)).stages:
        raise ValueError("without stages")
    return lock


def _pairs(text: str, numbers: dict[str, int]) -> NDArray[np.intp]:
    """Return the numbers of the labels and of the predicted classes: [2, n]."""
    pairs = [(numbers[row["label"]], numbers[row["predicted"]]) for row in parse_rows(text)]
    if not pairs:
        raise ValueError("without predictions")
    return np.array(pairs, np.intp).T


def earlier_run(files: Files, revision: str | None, *, committed: bool) -> Earlier | str:
    """Return the run in the commit `revision`, or a string that says why there is none.

    If `revision` is None, use the last commit. If this run itself is `committed`, use the last commit before it that
    changed the run. Raise InputError if the named commit does not exist or has no run, if the run in a commit is
    damaged, or if Git fails.
    """
    root = files.lock.parent
    try:
        if revision is None and committed:
            log = git_text(root, "log", "-2", "--format=%h %s", "--", *_names(files)[1:]).splitlines()
            if len(log) < 2 and is_shallow(root):
                return "Git has none here: this clone is shallow, and `git fetch --unshallow` brings the older commits"
            if len(log) < 2:
                return "Git has none: the committed run is the first"
            described = log[1]
        else:
            described = _describe(root, "HEAD" if revision is None else revision)
        commit, _, subject = described.partition(" ")
        return Earlier(commit, subject, read_run(files, commit))
    except AbsentError as error:
        if revision is None:
            return f"Git has none: {error.words}"
        raise InputError(f"--against {revision}", f"there is no run: {error.words}", hint=ANOTHER) from None


def _describe(root: Path, revision: str) -> str:
    """Return hash and subject of a commit. Raise AbsentError for a tree or a range, which name no single commit.

    With an empty hash, `git show HASH:PATH` would show the file of the index.
    """
    try:
        commit = git_text(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    except AbsentError as error:
        if not any(words in error.words for words in ("Needed a single revision", f"{revision}^{{commit}}")):
            raise  # Git is not installed, or there is no repository
        commit = ""
    if not commit.isalnum():  # '^main' gives '^' and the hash
        raise AbsentError("rev-parse", f"fatal: bad revision '{revision}'")
    return git_text(root, "log", "-1", "--format=%h %s", commit, "--").strip()


def uncommitted(files: Files) -> list[str] | None:
    """Return the names among params.yaml, dvc.lock and metrics that differ from the last commit; None: no commit.

    Raise GitError if Git fails.
    """
    root = files.lock.parent
    try:
        git_text(root, "rev-parse", "--verify", "HEAD")
        return [name for name in _names(files) if changed_files(root, name)]
    except AbsentError:
        return None


def _names(files: Files) -> list[str]:
    """Return the paths of params.yaml, dvc.lock and metrics, relative to the folder of dvc.lock."""
    return [os.path.relpath(path, files.lock.parent) for path in (files.params, files.lock, files.metrics)]
