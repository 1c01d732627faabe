"""The projects for faults: make, copy and run a project, and judge its state after a fault."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import killpg
from pathlib import Path
from typing import NamedTuple

from bench.faults.hook import sitecustomize as hook
from bench.faults.judge import Outcome, Verdict
from bench.measure import NOBODY, environment
from dvcproof.cache import recorded
from dvcproof.lockfile import read_lock
from dvcproof.runtime.files import file_hash

#: Seconds after which a command counts as stuck.
PATIENCE = 120

#: Patterns of files that only a killed process leaves. A run that ends removes its own.
LEFT_OVER = (".writing-*", "*.tmp", ".*.checkpoint")

Process = subprocess.Popen[bytes]


class Scene(NamedTuple):
    """Two copies of a project at the same commit: `start` before a run of all stages, and `good` after it.

    The working tree of `start` may hold the results of other parameters; its cache holds no result of this run.
    `command` runs the stages as `make repro` does. In the control experiment it is plain `dvc repro`.
    """

    start: Path
    good: Path
    command: str


def own_environment(folder: Path) -> dict[str, str]:
    """Return environment variables with which DVC keeps its own files beside the project."""
    places = dict.fromkeys(("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR"), f"{folder}.site")
    return environment() | NOBODY | places | {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}


def start(command: str, folder: Path, plan: hook.Plan | None = None) -> Process:
    """Start a Python module in `folder`, in a process group of its own.

    Args:
        command: the module and its arguments, as after `python -m`.
        folder: its working folder.
        plan: the fault to inject, and the change of a file at which it happens.
    """
    planned = {"PYTHONPATH": str(Path(hook.__file__).parent), "FAULT": json.dumps(plan._asdict())} if plan else {}
    return subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        cwd=folder,
        env=own_environment(folder) | planned,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def status_of(process: Process) -> int | None:
    """Wait for the end of a command, and return its status. Kill it if it is stuck, and return None."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def output_of(process: Process) -> str:
    """Wait until no process can write to the output of a command any more, and return it. Call this only once."""
    try:
        content = process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired as error:
        content = error.output or b""
    return content.decode(errors="replace")


def build(
    folder: Path, command: str, write: Callable[[Path], None], second: Callable[[Path], None] | None = None
) -> Scene:
    """Make a scene in a folder.

    Args:
        folder: a new folder.
        command: the module and arguments that run the project, as after `python -m`.
        write: writes the files of the project into a folder.
        second: changes the parameters, so that every stage runs. Without `second`, nothing has run in `start`.
    """
    good, before = folder / "good", folder / "start"
    write(good)
    for step in ("git init --quiet --initial-branch main", "dvc init --quiet", *["dvc repro --quiet"] * bool(second)):
        _run(good, step)
    shutil.copytree(good, before, symlinks=True)
    if second:
        second(good)
        second(before)
    for step in ("dvc repro --quiet", "git add --all", "git commit --quiet --message run"):
        _run(good, step)
    shutil.rmtree(before / ".git")
    shutil.copytree(good / ".git", before / ".git")
    return Scene(before, good, command)


def _run(folder: Path, command: str) -> str:
    return subprocess.check_output(command.split(), cwd=folder, env=own_environment(folder), text=True)


@contextmanager
def copied(project: Path) -> Iterator[Path]:
    """Copy a project for one fault. A folder beside the copy, NAME.site, is for files outside of the project."""
    with tempfile.TemporaryDirectory(dir=project.parent, prefix="trial-", ignore_cleanup_errors=True) as folder:
        Path(folder, "project.site").mkdir()
        yield shutil.copytree(project, Path(folder, "project"), symlinks=True)


def repro(scene: Scene, folder: Path) -> tuple[int | None, str]:
    """Run the project. Return exit status and output."""
    process = start(scene.command, folder)
    return status_of(process), output_of(process)


def judge(scene: Scene, folder: Path, status: int | None, output: str) -> Verdict:
    """Judge a project after a fault and a later `make repro` with this exit status and output."""
    if status != 0:
        return Verdict(Outcome.STUCK, output)
    wrong = next(_wrong(scene, folder), "")
    return Verdict(Outcome.WRONG, f"{wrong}\n{output}") if wrong else Verdict(Outcome.RIGHT)


def _wrong(scene: Scene, folder: Path) -> Iterator[str]:
    """Yield differences from a run without faults: in an output, in the cache, or in a file that Git would commit."""
    for name in (out.path for out in read_lock(scene.good / "dvc.lock").outputs()):
        if not (folder / name).is_file() or (folder / name).read_bytes() != (scene.good / name).read_bytes():
            yield f"{name} has other bytes"
    cache = folder / ".dvc" / "cache"
    kept = [*(cache / "files" / "md5").rglob("*"), *(cache / "runs").rglob("*")]
    for path in filter(Path.is_file, kept):
        is_record = path.is_relative_to(cache / "runs")
        if recorded(path) is None if is_record else file_hash(path, "md5") != path.parent.name + path.name:
            yield f"{path} is damaged"
    if status := _run(folder, "git status --porcelain --untracked-files=all"):
        yield f"git status: {status}"
    if left := [path for form in LEFT_OVER for path in folder.rglob(form)]:
        yield f"left over: {left}"


def refused(status: int | None, output: str) -> Verdict | None:
    """Judge a run by its exit status and output. Return None if nothing failed.

    A failed run must print an error message, or a finding with its rule, and no traceback.
    """
    if status is None:
        return Verdict(Outcome.STUCK, output)
    if status == 0:
        return None
    named = "ERROR" in output or re.search(r"^error: .+ \[DP\d+\]$", output, re.MULTILINE)
    return Verdict(Outcome.WRONG if not named or "Traceback (most recent" in output else Outcome.LINE, output)
