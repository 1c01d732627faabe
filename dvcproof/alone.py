"""Run single stages without DVC in copies of a project, and show how the outputs of two runs differ."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from dvcproof import compare
from dvcproof.circumstances import Circumstance, copy_tree, shell_words
from dvcproof.clone import Clone, digest, files_in
from dvcproof.git import git
from dvcproof.project import Item, Project, Stage
from dvcproof.runtime.program import InputError

#: The folder of a run if `folder` is varied. The name has a space and a letter that is not in ASCII.
OTHER_FOLDER = "a longer folder \N{LATIN SMALL LETTER Z WITH ACUTE}"

#: Most characters of a line that are shown.
WIDTH = 100


@dataclass(frozen=True)
class Outcome:
    """The result of one run of a stage.

    Args:
        status: the exit status; None if the time ran out.
        said: what the stage printed.
        files: the hash of each output file; the keys are paths relative to the project's root.
        top: the top folder of the copy in which the stage ran.
        root: the project's root in this copy.
        left: whether a program that the stage started still ran when the stage ended. It was then killed.
    """

    status: int | None
    said: str
    files: dict[str, str]
    top: Path
    root: Path
    left: bool = False
    seconds: float = 0.0

    def equals(self, other: "Outcome") -> bool:
        """Return whether both runs have the same exit status and, if they succeeded, the same output files."""
        return self.status == other.status and (self.status != 0 or self.files == other.files)


class Difference(NamedTuple):
    """The first difference of two runs: the path of the file, and a text that shows the difference."""

    path: str
    how: str


def local_outs(project: Project, stage: Stage) -> Iterator[tuple[Item, str]]:
    """Yield the local outputs inside the repository, with their paths relative to the project's root."""
    for out in stage.outs:
        if out.local and Path(out.place).is_relative_to(project.top or project.root):
            yield out, os.path.relpath(out.place, project.root)


def declared(stage: Stage, path: str) -> str:
    """Return the declared path of the output that contains a file. `path` is relative to the project's root."""
    place = Path(stage.raw.repo.root_dir, path)
    return next((out.path for out in stage.outs if place.is_relative_to(out.place)), path)


class Runner:
    """Runs single stages in copies of a clone. A copy is named by the path of its top folder.

    Args:
        folder: a folder for the copies. To vary the order of directory listings, it must be in memory.
    """

    def __init__(self, project: Project, clone: Clone, folder: Path) -> None:
        self.project, self.clone, self.folder = project, clone, folder
        self.prefix = clone.path.relative_to(clone.top)

    def copy(self, source: Path, name: str, varied: Sequence[Circumstance] = ()) -> Path:
        """Return a new copy of a folder; its order of listings and dates of files may be varied."""
        names = [one.name for one in varied]
        copy_tree(source, self.folder / name, backwards="order" in names, older="dates" in names)
        return self.folder / name

    def run(self, stage: Stage, top: Path, varied: Sequence[Circumstance] | None, limit: float) -> Outcome:
        """Run a stage in a copy. During the run, the copy has one fixed path, or another if the folder is varied.

        Args:
            varied: the circumstances to vary; None: run in the caller's circumstances.
            limit: seconds for the run.
        """
        names = [one.name for one in varied or ()]
        place = self.folder / (OTHER_FOLDER if "folder" in names else "work") / "project"
        place.parent.mkdir(parents=True, exist_ok=True)
        top.rename(place)
        root = place / self.prefix
        outs = {name: item for item, name in local_outs(self.project, stage)}
        for name, item in outs.items():
            self._clear(item, root / name, place)
        wdir, shell = root / os.path.relpath(stage.wdir, self.project.root), shell_words(varied)
        begin = time.monotonic()
        status, said, left = self.clone.run_alone(stage, wdir, root, shell, limit)
        seconds = time.monotonic() - begin
        absent = [name for name in outs if not os.path.lexists(root / name)]
        if status == 0 and absent:
            status, said = 1, f"{said}\noutput {absent[0]} does not exist"
        files = {os.path.relpath(file, root): digest(file) for name in outs for file in files_in(root / name)}
        place.rename(top)
        return Outcome(status, said, files, top, top / self.prefix, left, seconds)

    def give(self, stage: Stage, source: Path, target: Path) -> None:
        """Copy the outputs of a stage from one copy of the project into another."""
        for _, name in local_outs(self.project, stage):
            old, new = source / self.prefix / name, target / self.prefix / name
            remove(new)
            new.parent.mkdir(parents=True, exist_ok=True)
            if old.is_dir() and not old.is_symlink():
                copy_tree(old, new)
            elif os.path.lexists(old):
                shutil.copy2(old, new, follow_symlinks=False)

    def _clear(self, item: Item, path: Path, top: Path) -> None:
        """Remove an output, as DVC does before a run, and the folders around it that a clone would not have."""
        remove(path)
        if item.persist:
            with suppress(InputError):
                git(path.parent, "checkout", "HEAD", "--", path.name)
        here = Path(item.place)
        for folder, original in zip(path.parents, here.parents, strict=False):
            if folder == top or self.project.is_tracked(str(original)) or not folder.is_dir() or any(folder.iterdir()):
                return
            folder.rmdir()


def remove(path: Path) -> None:
    """Remove a file or folder; do nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def first_difference(one: Outcome, other: Outcome) -> Difference:
    """Return the first file in which two runs differ, with a description of the difference."""
    for name in sorted(one.files | other.files):
        if name not in other.files:
            return Difference(name, "only the plain run writes it")
        if name not in one.files:
            return Difference(name, "only the varied run writes it")
        if one.files[name] != other.files[name]:
            return Difference(name, show_difference(one.root / name, other.root / name))
    return Difference("", "")


def show_difference(plain: Path, varied: Path) -> str:
    """Return the first differing lines of two text files; for other files, a sentence about the difference."""
    if not (plain.is_file() and varied.is_file()):
        return "it is a link to another place"
    try:
        lines = [path.read_text(encoding="utf-8").splitlines() for path in (plain, varied)]
    except (ValueError, OSError):
        lines = []
    if not lines or any("\0" in line for text in lines for line in text):
        text = compare.first_difference(plain.name, plain, varied)
        return text.replace(" recorded", " plain").replace(" re-run", " varied")
    for number, (old, new) in enumerate(zip_longest(*lines), start=1):
        if old != new:
            pairs = enumerate(zip(old or "", new or "", strict=False))
            same = next((place for place, (one, other) in pairs if one != other), min(len(old or ""), len(new or "")))
            begin = max(same - WIDTH // 2, 0) if max(len(old or ""), len(new or "")) > WIDTH else 0
            shown = [
                "(no such line)" if one is None else "…" * (begin > 0) + one[begin : begin + WIDTH]
                for one in (old, new)
            ]
            return f"line {number}, plain:  {shown[0]}\nline {number}, varied: {shown[1]}"
    return "only the line ends differ"
