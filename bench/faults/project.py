"""The project that faults happen to, how it is started again and again, and what is judged afterwards."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bench.faults.processes import doctor, dvc, environment, forked
from dvcproof.cache import recorded
from dvcproof.lockfile import read_lock
from dvcproof.runtime.files import file_hash


class Outcome(StrEnum):
    """What a fault led to: to the right bytes, with or without a message that names it; or to something else."""

    RIGHT = "right"
    LINE = "line"
    STUCK = "stuck"
    WRONG = "wrong"


#: What only a killed process leaves: a run that ends removes its own, and goes on from the last.
LEFT_OVER = (".writing-*", "*.tmp", ".*.checkpoint")


class Verdict(NamedTuple):
    """An outcome, and what was wrong."""

    outcome: Outcome
    problem: str = ""


class Scene(NamedTuple):
    """A project before a run of all its stages, `start`, and after it, `good`. In the last commit it is as in `good`.

    The work tree of `start` may hold the results of other parameters; its cache holds nothing of this run.
    """

    start: Path
    good: Path


def build(folder: Path, write: Callable[[Path], None], second: Callable[[Path], None] | None = None) -> Scene:
    """Make a scene in a folder.

    Args:
        folder: a new one.
        write: writes the files of the project into a folder.
        second: changes its parameters, so that every stage runs. Without it nothing has run in `start`.
    """
    good, start = folder / "good", folder / "start"
    write(good)
    _ok(good, "git", "init", "--quiet", "--initial-branch", "main")
    _ok(good, "dvc", "init", "--quiet")
    if second:
        _ok(good, "dvc", "repro", "--quiet")
    shutil.copytree(good, start, symlinks=True)
    if second:
        second(good)
        second(start)
    _ok(good, "dvc", "repro", "--quiet")
    _ok(good, "git", "add", "--all")
    _ok(good, "git", "commit", "--quiet", "--message", "run")
    shutil.rmtree(start / ".git")
    shutil.copytree(good / ".git", start / ".git")
    return Scene(start, good)


def _ok(folder: Path, *command: str) -> str:
    result = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{command}: {result.stdout}{result.stderr}")
    return result.stdout


_numbers = count()


@contextmanager
def copied(project: Path) -> Iterator[Path]:
    """A copy of a project, for one fault."""
    copy = project.with_name(f"trial-{os.getpid()}-{next(_numbers)}")
    shutil.copytree(project, copy, symlinks=True)
    try:
        yield copy
    finally:
        for path in (copy, copy.with_name(f"{copy.name}.site")):
            shutil.rmtree(path, ignore_errors=True)


def repro(folder: Path, *, with_doctor: bool = True) -> tuple[int | None, str]:
    """What `make repro` does: exit status and output."""
    before = [doctor()] if with_doctor else []
    after = [doctor("--after")] if with_doctor else []
    output = ""
    for main in (*before, dvc("repro"), *after):
        ended = forked(main, folder)
        output += ended.output()
        if ended.status != 0:
            return ended.status, output
    return 0, output


def judge(scene: Scene, folder: Path, status: int | None, output: str) -> Verdict:
    """What a project is after a fault and a later `make repro` with this exit status and output."""
    if status != 0:
        return Verdict(Outcome.STUCK, output)
    if wrong := next(_wrong(scene, folder), ""):
        return Verdict(Outcome.WRONG, f"{wrong}\n{output}")
    return Verdict(Outcome.RIGHT)


def _wrong(scene: Scene, folder: Path) -> Iterator[str]:
    """What is not as after a run without faults: an output, the cache, or a file that Git would commit."""
    lock = read_lock(scene.good / "dvc.lock")
    for stage in lock.stages.values():
        for out in stage.outs:
            path = folder / out.path
            if not path.is_file() or path.read_bytes() != (scene.good / out.path).read_bytes():
                yield f"{out.path} has other bytes"
    for path in (folder / ".dvc" / "cache" / "files" / "md5").rglob("*"):
        if path.is_file() and file_hash(path, "md5") != path.parent.name + path.name:
            yield f"{path} is damaged"
    for path in (folder / ".dvc" / "cache" / "runs").rglob("*"):
        if path.is_file() and recorded(path) is None:
            yield f"{path} is damaged"
    status = _ok(folder, "git", "status", "--porcelain", "--untracked-files=all")
    if status:
        yield f"git status: {status}"
    if left := [path for form in LEFT_OVER for path in folder.rglob(form)]:
        yield f"left over: {left}"


#: What a program says that does not say it in lines for people.
TRACEBACK = re.compile(r"^Traceback \(most recent call last\)", re.MULTILINE)


def is_clear(output: str) -> bool:
    """Whether it names an error, with no traceback."""
    return "ERROR" in output and not TRACEBACK.search(output)
