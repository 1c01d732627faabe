"""Run one stage alone, directly by its commands, again and again from the same inputs, and compare what it writes."""

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

#: The folder of a varied run: with a space, and with a letter that is not in ASCII.
OTHER_FOLDER = "a longer folder \N{LATIN SMALL LETTER Z WITH ACUTE}"

#: A run alone may take this many times as long as the first one, and some seconds more.
SLOWER, MORE_SECONDS = 10, 30

#: Characters of a line that are shown.
WIDTH = 100


@dataclass(frozen=True)
class Outcome:
    """What a run of a stage gave.

    Args:
        status: its exit status; None: it did not end in time.
        said: what it printed.
        files: the hash of each file of its outputs, by its path from the project's root.
        root: the folder of the project in which it ran, kept for a comparison.
    """

    status: int | None
    said: str
    files: dict[str, str]
    root: Path

    def equals(self, other: "Outcome") -> bool:
        """Return whether both ended alike, and wrote the same."""
        return self.status == other.status and (self.status != 0 or self.files == other.files)


class Difference(NamedTuple):
    """Where two runs differ: the file, and how."""

    path: str
    how: str


def local_outs(project: Project, stage: Stage) -> Iterator[tuple[Item, str]]:
    """Return the outputs that a clone has a copy of its own of, with their paths from the project's root."""
    top = project.top or project.root
    for out in stage.outs:
        if out.local and Path(out.place).is_relative_to(top):
            yield out, os.path.relpath(out.place, project.root)


class Alone:
    """A stage, to be run alone.

    Args:
        clone: a clone in which it has run.
        folder: a folder to work in; with the order of listings to vary, it is in memory.
        ignored: its outputs that are not compared.
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
        #: How the outputs that are compared are declared, by their paths from the project's root.
        self.outs = {place: out.path for out, place in local_outs(project, stage) if out.path not in ignored}
        self.runs = 0
        self._slowest: float | None = None
        self._prepared = folder / "prepared"
        copy_tree(clone.top, self._prepared)
        root = self._prepared / self.prefix
        later = [one for one in project.stages if stage.address in project.before(one)]
        for one in (stage, *later):  # what they write is not there when the stage runs
            for item, place in local_outs(project, one):
                _remove(root / place)
                if item.persist:
                    with suppress(InputError):
                        git(root, "checkout", "HEAD", "--", place)
                if not project.is_tracked(item.place):  # what Git holds keeps its folder there, as in a clone
                    _prune(root / place, self._prepared)

    def run(self, varied: Sequence[Circumstance] = ()) -> Outcome:
        """Run it once, in a fresh copy of its inputs, always in the same folder unless that is varied."""
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
        """Return the output, as it is declared, to which a file belongs."""
        return next((name for place, name in self.outs.items() if path == place or path.startswith(f"{place}/")), path)

    def forget(self, outcome: Outcome) -> None:
        """Remove the files of a run that is compared no more."""
        shutil.rmtree(outcome.root, ignore_errors=True)

    def close(self) -> None:
        """Remove all that it has written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _prune(path: Path, top: Path) -> None:
    """Remove the empty folders above a path: a clone has none."""
    for folder in path.parents:
        if folder == top or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def first_difference(one: Outcome, other: Outcome) -> Difference:
    """Return the first file in which two runs differ, and how."""
    for name in sorted(one.files | other.files):
        if name not in other.files:
            return Difference(name, "only the plain run writes it")
        if name not in one.files:
            return Difference(name, "only the varied run writes it")
        if one.files[name] != other.files[name]:
            return Difference(name, show_difference(one.root / name, other.root / name))
    return Difference("", "")


def show_difference(plain: Path, varied: Path) -> str:
    """Show where two files differ: both lines of a text, else a sentence."""
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
    return "only the ends of lines differ"


def _begin(old: str, new: str) -> int:
    """Return where two lines are shown from: long ones from a place before the first character that differs."""
    pairs = enumerate(zip(old, new, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))
    return max(same - WIDTH // 2, 0) if max(len(old), len(new)) > WIDTH else 0


def _clip(line: str | None, begin: int) -> str:
    return "(no such line)" if line is None else f"{'…' if begin else ''}{line[begin : begin + WIDTH]}"
