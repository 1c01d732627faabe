"""Note what a run reads and writes, and check before its results are written that no input has changed.

DVC hashes inputs, parameters and outputs only after a stage has ended. Without this check, DVC would record an input
that was edited while the stage ran as the source of the results, and outputs that another DVC command put there as
results of the stage.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from dvcproof.runtime.program import InputError

#: Files of at most this many bytes are compared by content, so that rewriting the same content is no change.
SMALL = 2**20

#: `sample` hashes at most BLOCKS blocks of BLOCK bytes, evenly spread. Files of up to 16 MiB are hashed whole.
BLOCKS, BLOCK = 256, 2**16

#: The folder of the notes on what each stage read and wrote, one STAGE.json each; relative to the project's root.
RECORDS = ".dvc/tmp/inputs"

Read = Callable[[Path], Mapping[str, Any]]


class Inputs:
    """The files, code and parameters that one run has read, and its outputs."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}  # path -> fingerprint
        self.code: dict[str, list[int]] = {}  # path of a module -> identity; only imported modules count
        self.outputs: dict[str, str] = {}  # path -> sample
        self.params: dict[str, dict[str, Any]] = {}  # path of the parameter file -> name -> value
        self.readers: dict[str, Read] = {}

    def changed(self) -> Iterator[str]:
        """Return the paths of files, and the names of parameters, that have changed since they were read."""
        for path, seen in (self.files | self.imported()).items():
            if not matches(Path(path), seen):
                yield path
        for path, values in self.params.items():
            now = self.readers[path](Path(path))
            yield from (f"'{name}' in {path}" for name, value in values.items() if now.get(name) != value)

    def record(self, root: Path) -> dict[str, Any]:
        """Return what was read and written, ready for JSON. Paths are relative to the folder `root`."""
        every = {"files": self.files | self.imported(), "params": self.params, "outputs": self.outputs}
        return {
            kind: {os.path.relpath(path, root): seen for path, seen in all_.items()} for kind, all_ in every.items()
        }

    def imported(self) -> dict[str, Any]:
        """Return the identities of the modules that this process has imported so far, by path."""
        files = (getattr(module, "__file__", None) for module in [*sys.modules.values()])
        loaded = {_place(file) for file in files if file}
        return {path: seen for path, seen in self.code.items() if path in loaded}


_current: ContextVar[Inputs | None] = ContextVar("inputs", default=None)


@contextmanager
def watch() -> Iterator[Inputs]:
    """Note what is read inside the block. Outside of such a block, nothing is noted and changes are not refused."""
    inputs = Inputs()
    token = _current.set(inputs)
    try:
        yield inputs
    finally:
        _current.reset(token)


def see_file(path: Path) -> None:
    """Note a file, or the names in a folder. Call this before opening the path. Later calls change nothing."""
    if (inputs := _current.get()) and str(path) not in inputs.files:
        inputs.files[str(path)] = fingerprint(path)


def see_output(path: Path) -> None:
    """Note a file that has just been written."""
    if inputs := _current.get():
        inputs.outputs[str(path)] = sample(path)


def see_params(path: Path, values: Mapping[str, Any], read: Read) -> None:
    """Note top-level values of a parameter file. `read` is the function that reads the whole file."""
    if inputs := _current.get():
        inputs.readers[str(path)] = read
        inputs.params[str(path)] = dict(values) | inputs.params.get(str(path), {})


def see_code(root: Path) -> None:
    """Note all modules of the packages in a folder. Call this early, since some modules are imported late."""
    if inputs := _current.get():
        for path in (path for package in root.glob("*/__init__.py") for path in package.parent.rglob("*.py")):
            inputs.code[_place(str(path))] = identity(path.stat())  # no fingerprint: most modules are never imported


def code_fingerprint(path: Path) -> Any:
    """Return the fingerprint of a module. If the module has changed since it was noted, return the noted identity."""
    inputs, name = _current.get(), _place(str(path))
    noted = inputs.code.get(name) if inputs else None
    return fingerprint(path) if noted is None or noted == identity(path.stat()) else noted


def matches(path: Path, seen: Any) -> bool:
    """Return whether a file or folder still has the fingerprint or the identity `seen`."""
    if isinstance(seen, list) and all(isinstance(part, int) for part in seen) and path.is_file():
        return identity(path.stat()) == seen
    return bool(fingerprint(path) == seen)


def require_unchanged() -> None:
    """Raise InputError if an input of the current run has changed since it was read."""
    inputs = _current.get()
    name = next(inputs.changed(), None) if inputs else None
    if name:
        received = "a change, so nothing was written"
        raise InputError(name, expected="no change while it is used", received=received, hint="Run it again.")


def fingerprint(path: Path) -> Any:
    """Return a value that changes when a file or folder changes: text, list or None, ready for JSON.

    The value is a hash of the content for a file of at most SMALL bytes, the identity for a larger one, the sorted
    names inside for a folder, and None if nothing is there.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return sorted(entry.name for entry in path.iterdir())
        if stat.S_ISREG(found.st_mode) and found.st_size <= SMALL:
            return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return identity(found)


def sample(path: Path) -> str:
    """Return a hash of a file's size and content, or of evenly spread blocks if the file is larger than 16 MiB."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        hashed = hashlib.sha256(str(size).encode())
        step = max(BLOCK, size // BLOCKS)
        for start in range(0, size, step):
            file.seek(start)
            hashed.update(file.read(BLOCK))
    return hashed.hexdigest()


def identity(found: os.stat_result) -> list[int]:
    """Return device, inode, size, and times of modification and of change (ns). Programs cannot set the last one."""
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _place(file: str) -> str:
    """Return the path of a file with all symlinks among its parent directories resolved."""
    folder, name = os.path.split(file)
    return os.path.join(_real(folder), name)  # noqa: PTH118 (for thousands of modules Path takes ten times as long)


_real = cache(os.path.realpath)  # each folder of packages holds many modules
