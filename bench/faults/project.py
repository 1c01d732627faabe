"""The project that faults happen to: make it, copy it, run it again, and judge what it is afterwards."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.faults.judge import Outcome, Verdict
from bench.faults.processes import forked, own_environment
from dvcproof.cache import recorded
from dvcproof.lockfile import read_lock
from dvcproof.runtime.files import file_hash

#: What only a killed process leaves. A run that ends removes its own, and goes on from the last.
LEFT_OVER = (".writing-*", "*.tmp", ".*.checkpoint")


class Scene(NamedTuple):
    """A project before a run of all its stages, `start`, and after it, `good`. The last commit is as `good`.

    The work tree of `start` may hold the results of other parameters; its cache holds nothing of this run.
    `doctor` is False for the control, in which `dvc repro` runs alone.
    """

    start: Path
    good: Path
    doctor: bool = True


def build(folder: Path, write: Callable[[Path], None], second: Callable[[Path], None] | None = None) -> Scene:
    """Make a scene in a folder.

    Args:
        folder: a new one.
        write: writes the files of the project into a folder.
        second: changes its parameters, so that every stage runs. Without it nothing has run in `start`.
    """
    good, start = folder / "good", folder / "start"
    write(good)
    _run(good, "git init --quiet --initial-branch main")
    _run(good, "dvc init --quiet")
    if second:
        _run(good, "dvc repro --quiet")
    shutil.copytree(good, start, symlinks=True)
    if second:
        second(good)
        second(start)
    for command in ("dvc repro --quiet", "git add --all", "git commit --quiet --message run"):
        _run(good, command)
    shutil.rmtree(start / ".git")
    shutil.copytree(good / ".git", start / ".git")
    return Scene(start, good)


def _run(folder: Path, command: str) -> str:
    result = subprocess.run(
        command.split(), cwd=folder, env=own_environment(folder), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{command}: {result.stdout}{result.stderr}")
    return result.stdout


@contextmanager
def copied(project: Path) -> Iterator[Path]:
    """Copy a project for one fault. A folder beside the copy, `.site`, is for files outside of the project."""
    with tempfile.TemporaryDirectory(dir=project.parent, prefix="trial-", ignore_cleanup_errors=True) as folder:
        Path(folder, "project.site").mkdir()
        yield shutil.copytree(project, Path(folder, "project"), symlinks=True)


def repro(scene: Scene, folder: Path) -> tuple[int | None, str]:
    """Do what `make repro` does. Returns exit status and output."""
    output = ""
    for command in ("digits doctor", "dvc repro", "digits doctor --after") if scene.doctor else ("dvc repro",):
        ended = forked(command, folder)
        output += ended.output()
        if ended.status != 0:
            return ended.status, output
    return 0, output


def judge(scene: Scene, folder: Path, status: int | None, output: str) -> Verdict:
    """Judge a project after a fault and a later `make repro` with this exit status and output."""
    if status != 0:
        return Verdict(Outcome.STUCK, output)
    if wrong := next(_wrong(scene, folder), ""):
        return Verdict(Outcome.WRONG, f"{wrong}\n{output}")
    return Verdict(Outcome.RIGHT)


def _wrong(scene: Scene, folder: Path) -> Iterator[str]:
    """Find what is not as after a run without faults: an output, the cache, or a file that Git would commit."""
    for stage in read_lock(scene.good / "dvc.lock").stages.values():
        for out in stage.outs:
            path = folder / out.path
            if not path.is_file() or path.read_bytes() != (scene.good / out.path).read_bytes():
                yield f"{out.path} has other bytes"
    cache = folder / ".dvc" / "cache"
    for path in filter(Path.is_file, (cache / "files" / "md5").rglob("*")):
        if file_hash(path, "md5") != path.parent.name + path.name:
            yield f"{path} is damaged"
    for path in filter(Path.is_file, (cache / "runs").rglob("*")):
        if recorded(path) is None:
            yield f"{path} is damaged"
    if status := _run(folder, "git status --porcelain --untracked-files=all"):
        yield f"git status: {status}"
    if left := [path for form in LEFT_OVER for path in folder.rglob(form)]:
        yield f"left over: {left}"


def is_clear(output: str) -> bool:
    """Check that output names an error, or a finding with its rule, with no traceback."""
    named = "ERROR" in output or re.search(r"^error: .+ \[DP\d+\]$", output, re.MULTILINE)
    return bool(named) and not re.search(r"^Traceback \(most recent call last\)", output, re.MULTILINE)
