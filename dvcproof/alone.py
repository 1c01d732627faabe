"""Run one stage alone, directly by its commands, again and again from the same inputs, and compare what it writes."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dvcproof.circumstances import Circumstance, copy_tree, write_shell
from dvcproof.clone import Clone, Result, execute
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


def local_outs(project: Project, stage: Stage) -> list[tuple[Item, str]]:
    """Return the outputs that a clone has a copy of its own of, with their paths from the project's root."""
    top = project.top or project.root
    return [
        (out, os.path.relpath(out.place, project.root))
        for out in stage.outs
        if out.local and Path(out.place).is_relative_to(top)
    ]


class Alone:
    """A stage, to be run alone.

    Args:
        project: the project.
        stage: the stage.
        clone: a clone in which it has run.
        folder: a folder to work in; with the order of listings to vary, it is in memory.
        later: the stages that depend on it: their outputs are not there when it runs.
        ignored: its outputs that are not compared.
        timeout: seconds for the first run.
    """

    def __init__(
        self,
        *,
        project: Project,
        stage: Stage,
        clone: Clone,
        folder: Path,
        later: Sequence[Stage],
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
        copy_tree(clone.top, self._prepared, sorted)
        root = self._prepared / self.prefix
        for one in (stage, *later):
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
        copy_tree(self._prepared, place, _backwards if "order" in names else sorted)
        root = place / self.prefix
        shell = write_shell(self.folder / "shell", varied)
        begin = time.monotonic()
        result = self._commands(shell, root)
        self._slowest = self._slowest or time.monotonic() - begin
        self.runs += 1
        files = {name: _hash(path) for out in self.outs for name, path in _files(root, out)}
        kept = self.folder / f"run-{self.runs}"
        for out in self.outs:
            if os.path.lexists(root / out):
                (kept / out).parent.mkdir(parents=True, exist_ok=True)
                (root / out).rename(kept / out)
        return Outcome(result.status, result.output, files, kept)

    def declared(self, path: str) -> str:
        """Return the output, as it is declared, to which a file belongs."""
        return next((name for place, name in self.outs.items() if path == place or path.startswith(f"{place}/")), path)

    def forget(self, *outcomes: Outcome) -> None:
        """Remove the files of runs that are compared no more."""
        for outcome in outcomes:
            shutil.rmtree(outcome.root, ignore_errors=True)

    def close(self) -> None:
        """Remove all that it has written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _commands(self, shell: Path, root: Path) -> Result:
        limit = self.timeout
        if self._slowest is not None:
            limit = min(limit, SLOWER * self._slowest + MORE_SECONDS)
        variables = self.clone.environment(DVC_STAGE=self.stage.address, DVC_ROOT=str(root))
        end, said = time.monotonic() + limit, ""
        for command in self.stage.commands:
            left = max(end - time.monotonic(), 0.1)
            result = execute([str(shell), "-c", command], root / self.wdir, variables, left)
            said += result.output
            if result.status != 0:
                return Result(result.status, said)
        return Result(0, said)


def _backwards(names: list[str]) -> list[str]:
    return sorted(names, reverse=True)


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


def _files(root: Path, out: str) -> Iterator[tuple[str, Path]]:
    """Return the files of an output, with their names from the project's root."""
    path = root / out
    if path.is_dir():
        inner = sorted(one for one in path.rglob("*") if one.is_file())
        yield from ((f"{out}/{one.relative_to(path)}", one) for one in inner)
    elif path.is_file():
        yield out, path


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def first_difference(one: Outcome, other: Outcome) -> Difference:
    """Return the first file in which two runs differ, and how."""
    for name in sorted(one.files | other.files):
        if one.files.get(name) == other.files.get(name):
            continue
        if name not in other.files:
            return Difference(name, "only the plain run writes it")
        if name not in one.files:
            return Difference(name, "only the varied run writes it")
        return Difference(name, show_difference(one.root / name, other.root / name))
    return Difference("", "")


def show_difference(plain: Path, varied: Path) -> str:
    """Show where two files differ: both lines of a text, else a sentence."""
    lines: list[list[str]] = []
    try:
        lines = [path.read_text(encoding="utf-8").splitlines() for path in (plain, varied)]
    except (ValueError, OSError):
        return _sentence(plain, varied)
    if any("\0" in line for text in lines for line in text):
        return _sentence(plain, varied)
    longest = max(map(len, lines))
    for number in range(longest):
        pair = [text[number] if number < len(text) else None for text in lines]
        if pair[0] != pair[1]:
            shown = _clip(pair)
            return f"line {number + 1}, plain:  {shown[0]}\nline {number + 1}, varied: {shown[1]}"
    return "only the ends of lines differ"


def _clip(pair: Sequence[str | None]) -> list[str]:
    """Cut long lines to the part around the first character that differs."""
    texts = [text or "" for text in pair]
    same = _same(texts[0], texts[1])
    begin = max(same - WIDTH // 2, 0) if max(map(len, texts)) > WIDTH else 0
    return [
        "(no such line)" if text is None else f"{'…' if begin else ''}{text[begin : begin + WIDTH]}" for text in pair
    ]


def _same(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many characters or bytes are equal at the beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (old, new) in pairs if old != new), min(len(one), len(other)))


def _sentence(plain: Path, varied: Path) -> str:
    try:
        from dvcproof import compare
    except ImportError:  # it reads arrays, and so needs packages that a project may do without
        contents = plain.read_bytes(), varied.read_bytes()
        same = _same(*contents)
        return f"first differing byte at {same}; {len(contents[0])} and {len(contents[1])} bytes"
    text = compare.first_difference(plain.name, plain, varied)
    return text.replace(" recorded", " plain").replace(" re-run", " varied")
