"""A clean clone of the last commit, supplied with the data that no stage makes, in which stages can run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dvcproof.git import FULL_DISK, MORE_SPACE, environment, git, git_text, top_folder
from dvcproof.project import Item, Project
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError

#: Variables of the shell that calls, which a clean clone must not see.
DROPPED = ("GIT_", "DVC_", "PYTHON", "COVERAGE_")

#: Lines of a stage's own words that are shown when it fails.
LAST_LINES = 20


class Result(NamedTuple):
    """What a program did.

    Args:
        status: its exit status; None: it ran out of time.
        output: standard output and standard error, as they came.
    """

    status: int | None
    output: str

    @property
    def last_lines(self) -> str:
        """The end of the output."""
        return "\n".join(self.output.splitlines()[-LAST_LINES:])


class Clone:
    """A clean clone.

    Args:
        project: the project; its last commit is cloned.
        folder: an empty folder, for the clone and what belongs to it.
        name: the name of the clone's folder.

    Raises:
        InputError: there is no commit, or Git refuses.
    """

    def __init__(self, project: Project, folder: Path, name: str = "clone") -> None:
        self.folder, self.top = folder, folder / name
        top, prefix = top_folder(project.root)
        self.commit = git_text(project.root, "rev-parse", "--short", "--verify", "HEAD").strip()
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "clone", "--quiet", "--no-local", str(top), str(self.top))
        if (self.top / ".gitmodules").is_file():
            with suppress(InputError):
                git(self.top, "submodule", "--quiet", "update", "--init", "--recursive")
        self.path = self.top / prefix
        if not (self.path / ".dvc").is_dir():
            hint = "Commit the folder .dvc: `git add .dvc`."
            raise InputError(f"commit {self.commit}", f"it has no {prefix}.dvc", hint=hint)
        # Not the cache that the project or its user may share with others; and no links, so that it can be copied.
        self.set_cache("cache")
        #: Data that no stage makes, and that the project's cache does not have.
        self.missing: list[str] = []
        #: Why, if it is not only absent.
        self.obstacles: list[str] = []
        self._supply(project)

    def set_cache(self, place: str) -> None:
        """Let DVC keep its cache in a folder, named from the folder .dvc."""
        cache = f'[cache]\n    dir = "{place}"\n    type = reflink,copy\n'
        local = f"{cache}[core]\n    autostage = false\n    analytics = false\n"
        (self.path / ".dvc" / "config.local").write_text(local, encoding="utf-8")

    def _supply(self, project: Project) -> None:
        """Copy the data of .dvc files, and the outputs of frozen stages, from the project's cache."""
        frozen = [out for stage in project.stages if stage.frozen for out in stage.outs]
        self.missing += self.supply(project, [*project.data, *frozen])

    def supply(self, project: Project, items: Sequence[Item]) -> list[str]:
        """Copy data from the project's cache; return what is neither there nor here."""
        wanted = [item for item in items if item.local and item.cached and item.digest]
        ready, missing = [], []
        for item in wanted:
            place = os.path.relpath(item.place, project.root)
            if all(self._copy(project, item, digest) for digest in _objects(item)):
                ready.append(place)
            elif not os.path.lexists(self.path / place):
                missing.append(item.path)
        if ready and (result := self.dvc("checkout", *ready)).status != 0:
            words = next((line for line in result.output.splitlines() if line.startswith("ERROR")), result.last_lines)
            self.obstacles.append(f"`dvc checkout` fails: {words}")
            missing += [place for place in ready if not os.path.lexists(self.path / place)]
        return missing

    def _copy(self, project: Project, item: Item, digest: str) -> bool:
        """Copy an object into the cache of the clone. Where the cache lacks it, an unchanged file here serves."""
        store = item.raw.cache
        source = Path(store.oid_to_path(digest))
        target = self.path / ".dvc" / "cache" / os.path.relpath(source, project.repo.cache.legacy.path)
        if not source.is_file() and item.exists and Path(item.place).is_file():
            if project.hash(item.raw)[1] != item.raw.hash_info:
                return False
            source = Path(item.place)
        if not source.is_file():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if store.hash_name == "md5" and file_hash(target, "md5") != digest.removesuffix(".dir"):
            target.unlink()  # what comes of it would be blamed on a stage
            self.obstacles.append(f"{source} is damaged: move it away, and run `dvc fetch`")
            return False
        return True

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of programs in the clone: the user's, without settings of Git, DVC and Python."""
        keep = {name: value for name, value in environment().items() if not name.startswith(DROPPED)}
        # Nobody's configuration: these folders do not exist, or are empty.
        names = ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")
        ours = {f"DVC_{name}_DIR": str(self.folder / "dvc") for name in names}
        return keep | ours | {"DVC_NO_ANALYTICS": "1", "PATH": search_path(keep.get("PATH", os.defpath))} | variables

    def dvc(self, *words: str, timeout: float | None = None, **variables: str) -> Result:
        """Run the project's own DVC in the clone."""
        variables = {"SHELL": "/bin/sh"} | variables
        return execute([*dvc_command(), *words], self.path, self.environment(**variables), timeout)


def execute(words: Sequence[str], folder: Path, variables: Mapping[str, str], timeout: float | None) -> Result:
    """Run a program, and end it with all that it has started when the time is up.

    Args:
        words: the program and its arguments.
        folder: where it runs.
        variables: its whole environment.
        timeout: seconds; None for no limit.
    """
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            words, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        status: int | None = None
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        return Result(status, out.read().decode(errors="replace"))


def search_path(path: str) -> str:
    """Return PATH as it is if it leads to a DVC, else with the folder of this Python first."""
    return path if shutil.which("dvc", path=path) else f"{Path(sys.executable).parent}{os.pathsep}{path}"


def dvc_command() -> list[str]:
    """Return the project's own DVC if there is one on PATH, else the one of this Python."""
    found = shutil.which("dvc")
    return [found] if found else [sys.executable, "-m", "dvc"]


def _objects(item: Item) -> list[str]:
    """Return the hash of an output, and of a folder those of its files, as far as they are known."""
    digest = item.digest or ""
    if not digest.endswith(".dir"):
        return [digest]
    try:
        tree: Any = item.raw.get_obj()
    except Exception:  # DVC raises many kinds where the list of files is not there
        tree = None
    return [digest, *(part.value for _, _, part in tree or ())]


@contextmanager
def working_folder(keep: Path | None, prefix: str) -> Iterator[Path]:
    """Give a folder to work in: a temporary one, or a new one that stays.

    Raises:
        InputError: the folder to keep exists.
    """
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    if keep.exists():
        raise InputError(f"--keep {keep}", "this folder exists", hint="Name a new one.")
    keep.mkdir(parents=True)
    yield keep.resolve()


def full_disk(output: str, folder: Path) -> str:
    """Say that the disk of a folder is full, if a line of an output says so, or nothing more can be written there."""
    lines = (line for line in output.splitlines() if any(words in line for words in FULL_DISK))
    line = next(lines, FULL_DISK[0] if shutil.disk_usage(folder).free < 2**16 else "")
    return f"{re.sub('^ERROR: ', '', line)}. {MORE_SPACE}" if line else ""
