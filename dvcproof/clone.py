"""Make a clean clone of the last commit, in which stages can run. It has copies of the data that no stage makes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dvcproof.git import FULL_DISK, MORE_SPACE, environment, git, git_text, top_folder
from dvcproof.project import Item, Project, Stage
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError

#: Prefixes of environment variables of the caller that programs in the clone must not see.
DROPPED = ("GIT_", "DVC_", "PYTHON", "COVERAGE_")

#: The number of last lines of output that are shown when a stage fails.
LAST_LINES = 20


class Result(NamedTuple):
    """The exit status of a program (None if the time ran out), and everything that it printed.

    `left`: whether programs that it had started still ran when it ended. They were then killed.
    """

    status: int | None
    output: str
    left: bool = False

    @property
    def last_lines(self) -> str:
        """Return the last lines of the output."""
        return "\n".join(self.output.splitlines()[-LAST_LINES:])


class Clone:
    """A clean clone of a project's last commit, in the folder `name` of `folder`.

    Raise InputError if `git clone` fails, or the commit has no folder .dvc.
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
        # The clone has a cache of its own. It uses no links, so that the clone can be copied.
        self.set_cache("cache")
        #: Reasons why data is missing other than that it is absent.
        self.obstacles: list[str] = []
        frozen = [out for stage in project.stages if stage.frozen for out in stage.outs]
        #: Paths of data that no stage makes and that could not be copied.
        self.missing = self.supply(project, [*project.data, *frozen])

    def set_cache(self, place: str) -> None:
        """Set the folder of DVC's cache. `place` is relative to the folder .dvc."""
        cache = f'[cache]\n    dir = "{place}"\n    type = reflink,copy\n'
        local = f"{cache}[core]\n    autostage = false\n    analytics = false\n"
        (self.path / ".dvc" / "config.local").write_text(local, encoding="utf-8")

    def supply(self, project: Project, items: Sequence[Item]) -> list[str]:
        """Copy data from the project's cache into the clone. Return the paths of the items that are missing in both."""
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
        """Copy an object into the cache of the clone; if the project's cache lacks it, copy the file if unchanged.

        Return whether the object was copied.
        """
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
            target.unlink()  # a stage would be blamed for wrong results from damaged data
            self.obstacles.append(f"{source} is damaged: move it away, and run `dvc fetch`")
            return False
        return True

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment for programs in the clone: the user's, without variables of Git, DVC and Python."""
        keep = {name: value for name, value in environment().items() if not name.startswith(DROPPED)}
        # No configuration of the user or system: these folders do not exist or are empty.
        names = ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")
        ours = {f"DVC_{name}_DIR": str(self.folder / "dvc") for name in names}
        return keep | ours | {"DVC_NO_ANALYTICS": "1", "PATH": search_path(keep.get("PATH", os.defpath))} | variables

    def dvc(self, *words: str, timeout: float | None = None, **variables: str) -> Result:
        """Run the project's DVC in the clone, with these arguments."""
        variables = {"SHELL": "/bin/sh"} | variables
        return execute([*dvc_command(), *words], self.path, self.environment(**variables), timeout)

    def repro(self, *words: str, timeout: float | None = None, **variables: str) -> Result:
        """Run stages with `dvc repro`, even if they are up to date, and continue after a failed stage."""
        return self.dvc("repro", "--force", "--no-run-cache", "--keep-going", *words, timeout=timeout, **variables)

    def run_alone(self, stage: Stage, wdir: Path, root: Path, shell: Sequence[str], timeout: float) -> Result:
        """Run the commands of a stage without DVC until one fails. `root` is a copy of the project.

        Args:
            wdir: the working folder of the stage in this copy.
            shell: the command that runs a shell.
            timeout: seconds for all commands together.
        """
        variables = self.environment(
            DVC_STAGE=stage.address, DVC_ROOT=str(root), PYTHONDONTWRITEBYTECODE="1", SHELL="/bin/sh"
        )
        end, output, left = time.monotonic() + timeout, "", False
        if not wdir.is_dir():
            return Result(1, f"the folder {stage.wdir} does not exist")
        for command in stage.commands:
            result = execute([*shell, "-c", command], wdir, variables, max(end - time.monotonic(), 0.1))
            output, left = output + result.output, left or result.left
            if result.status != 0:
                return Result(result.status, output, left)
        return Result(0, output, left)


def execute(words: Sequence[str], folder: Path, variables: Mapping[str, str], timeout: float | None) -> Result:
    """Run a program in a folder, and kill its whole process group when it ends or after `timeout` seconds."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            words, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        status, left = None, False
        try:
            status = process.wait(timeout)
            left = _is_left(process.pid)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        return Result(status, out.read().decode(errors="replace"), left)


def _is_left(group: int) -> bool:
    """Return whether a process group still has processes, after a moment for those that are about to end."""
    with suppress(ProcessLookupError):
        for _ in range(10):
            os.killpg(group, 0)
            time.sleep(0.02)
        return True
    return False


def search_path(path: str) -> str:
    """Return PATH unchanged if it leads to a program `dvc`; otherwise put the folder of this Python first."""
    return path if shutil.which("dvc", path=path) else f"{Path(sys.executable).parent}{os.pathsep}{path}"


def dvc_command() -> list[str]:
    """Return the command for DVC: `dvc` on PATH, or else the module of this Python."""
    found = shutil.which("dvc")
    return [found] if found else [sys.executable, "-m", "dvc"]


def _objects(item: Item) -> list[str]:
    """Return the hash of an output; for a folder, also the hashes of its files if DVC has their list."""
    digest = item.digest or ""
    if not digest.endswith(".dir"):
        return [digest]
    try:
        tree: Any = item.raw.get_obj()
    except Exception:  # DVC raises many kinds of errors if the list of files is missing
        tree = None
    return [digest, *(part.value for _, _, part in tree or ())]


@contextmanager
def working_folder(keep: Path | None, prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder, or create `keep` and leave it there. Raise InputError if `keep` exists already."""
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    if keep.exists():
        raise InputError(f"--keep {keep}", "this folder exists already", hint="Name a new one.")
    keep.mkdir(parents=True)
    yield keep.resolve()


def full_disk(output: str, folder: Path) -> str:
    """Return a message about a full disk if the output has one or the folder has no space left; otherwise empty."""
    lines = (line for line in output.splitlines() if any(words in line for words in FULL_DISK))
    line = next(lines, FULL_DISK[0] if shutil.disk_usage(folder).free < 2**16 else "")
    return f"{re.sub('^ERROR: ', '', line)}. {MORE_SPACE}" if line else ""


def files_in(path: Path) -> list[Path]:
    """Return all files in a folder and its subfolders; for a file, a list of this file."""
    if path.is_dir():
        return sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return [path] if path.exists() else []


def digest(path: Path) -> str:
    """Return the hash of a file; for a broken symlink, its target; for anything else, an empty string."""
    if not path.is_file():
        return str(path.readlink()) if path.is_symlink() else ""
    return file_hash(path)


def copy(source: Path, target: Path) -> None:
    """Replace the target with a copy of a file or folder. If the source is missing, only remove a target folder."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.exists():
        shutil.copy2(source, target)
