"""Run the commands of one stage repeatedly from the same inputs, without DVC, and compare the outputs."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dvcproof import compare
from dvcproof.circumstances import Circumstance, copy_tree, shell_words
from dvcproof.clone import Clone, digest, files_in
from dvcproof.git import git
from dvcproof.project import Item, Project, Stage
from dvcproof.runtime.program import InputError

#: The folder of a varied run. The name has a space and a letter that is not in ASCII.
OTHER_FOLDER = "a longer folder \N{LATIN SMALL LETTER Z WITH ACUTE}"

#: Time limit of a later run: SLOWER times the seconds of the first run, plus MORE_SECONDS.
SLOWER, MORE_SECONDS = 10, 30

#: Most characters of a line that are shown.
WIDTH = 100


@dataclass(frozen=True)
class Outcome:
    """The result of one run of a stage.

    Args:
        status: the exit status; None if the time ran out.
        said: what the stage printed.
        files: the hash of each output file; the keys are paths relative to the project's root.
        root: the folder to which the output files were moved, kept for comparison.
    """

    status: int | None
    said: str
    files: dict[str, str]
    root: Path

    def equals(self, other: "Outcome") -> bool:
        """Return whether both runs have the same exit status and, if they succeeded, the same output files."""
        return self.status == other.status and (self.status != 0 or self.files == other.files)


class Difference(NamedTuple):
    """The first difference of two runs: the path of the file, and a text that shows the difference."""

    path: str
    how: str


def local_outs(project: Project, stage: Stage) -> Iterator[tuple[Item, str]]:
    """Yield the local outputs inside the repository, with their paths relative to the project's root."""
    top = project.top or project.root
    for out in stage.outs:
        if out.local and Path(out.place).is_relative_to(top):
            yield out, os.path.relpath(out.place, project.root)


class Alone:
    """A stage to be run without DVC and without the other stages.

    Args:
        clone: a clone in which the stage has run.
        folder: a folder for temporary files. To vary the order of directory listings, it must be in memory.
        ignored: outputs of the stage that are not compared.
        timeout: seconds for the first run.
    """

    def __init__(
        self,
        project: Project,
        stage: Stage,
        clone: Clone,
        *,
        folder: Path,
        ignored: frozenset[str],
        timeout: float,
    ) -> None:
        self.stage, self.clone, self.folder, self.timeout = stage, clone, folder, timeout
        self.prefix = clone.path.relative_to(clone.top)
        self.wdir = os.path.relpath(stage.wdir, project.root)
        #: The compared outputs: paths relative to the project's root, and the paths as dvc.yaml declares them.
        self.outs = {place: out.path for out, place in local_outs(project, stage) if out.path not in ignored}
        self.runs = 0
        self._slowest: float | None = None
        self._prepared = folder / "prepared"
        copy_tree(clone.top, self._prepared)
        root = self._prepared / self.prefix
        later = [one for one in project.stages if stage.address in project.before(one)]
        for one in (stage, *later):  # their outputs do not exist yet when the stage runs
            for item, place in local_outs(project, one):
                _remove(root / place)
                if item.persist:
                    with suppress(InputError):
                        git(root, "checkout", "HEAD", "--", place)
                if not project.is_tracked(item.place):  # a clone has the parent directories of tracked files only
                    _prune(root / place, self._prepared)

    def run(self, varied: Sequence[Circumstance] = ()) -> Outcome:
        """Run the stage once in a fresh copy of the project, always in the same folder unless `varied` changes it."""
        names = [one.name for one in varied]
        place = self.folder / (OTHER_FOLDER if "folder" in names else "work") / "project"
        shutil.rmtree(place, ignore_errors=True)
        copy_tree(self._prepared, place, backwards="order" in names)
        root = place / self.prefix
        begin, limit = time.monotonic(), self.timeout
        if self._slowest is not None:
            limit = min(limit, SLOWER * self._slowest + MORE_SECONDS)
        result = self.clone.run_alone(self.stage, root / self.wdir, root, shell_words(varied), limit)
        self._slowest = self._slowest or time.monotonic() - begin
        self.runs += 1
        files = {os.path.relpath(file, root): digest(file) for out in self.outs for file in files_in(root / out)}
        kept = self.folder / f"run-{self.runs}"
        for out in self.outs:
            if os.path.lexists(root / out):
                (kept / out).parent.mkdir(parents=True, exist_ok=True)
                (root / out).rename(kept / out)
        return Outcome(result.status, result.output, files, kept)

    def declared(self, path: str) -> str:
        """Return the declared path of the output that contains a file."""
        return next((name for place, name in self.outs.items() if path == place or path.startswith(f"{place}/")), path)

    def forget(self, outcome: Outcome) -> None:
        """Remove the files of a run that is no longer needed for comparison."""
        shutil.rmtree(outcome.root, ignore_errors=True)

    def close(self) -> None:
        """Remove all files of all runs."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _prune(path: Path, top: Path) -> None:
    """Remove the empty parent directories of a path below `top`, since Git does not store empty folders."""
    for folder in path.parents:
        if folder == top or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


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
    try:
        lines = [path.read_text(encoding="utf-8").splitlines() for path in (plain, varied)]
    except (ValueError, OSError):
        lines = []
    if not lines or any("\0" in line for text in lines for line in text):
        text = compare.first_difference(plain.name, plain, varied)
        return text.replace(" recorded", " plain").replace(" re-run", " varied")
    for number in range(max(map(len, lines))):
        old, new = (text[number] if number < len(text) else None for text in lines)
        if old != new:
            begin = _begin(old or "", new or "")
            return f"line {number + 1}, plain:  {_clip(old, begin)}\nline {number + 1}, varied: {_clip(new, begin)}"
    return "only the line ends differ"


def _begin(old: str, new: str) -> int:
    """Return the index at which to start showing two lines: for long lines, shortly before the first difference."""
    pairs = enumerate(zip(old, new, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))
    return max(same - WIDTH // 2, 0) if max(len(old), len(new)) > WIDTH else 0


def _clip(line: str | None, begin: int) -> str:
    return "(no such line)" if line is None else f"{'…' if begin else ''}{line[begin : begin + WIDTH]}"
