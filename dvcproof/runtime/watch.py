"""What a run has read: each thing as it was when it was opened, and whether it is still so before results are written.
And what it has written.

DVC hashes inputs, parameters and outputs after a stage has ended. Without this, what changes while the stage runs would
be recorded with results that it did not give, and results that another command of DVC put there as those of the stage.
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

#: Up to this many bytes a file is known by its content, so that the same content written again is no change.
SMALL = 2**20

#: Of a larger output, so many blocks, evenly spread, stand for its content: all is hashed up to 16 MiB.
BLOCKS, BLOCK = 256, 2**16

#: Where each stage leaves word of what it read, in the folder of the project: one .json per stage, in DVC's own folder.
RECORDS = ".dvc/tmp/inputs"

Read = Callable[[Path], Mapping[str, Any]]


class Inputs:
    """All that one run has read."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}  # fingerprints by path
        self.code: dict[str, list[int]] = {}  # identities of modules; only what is imported counts
        self.outputs: dict[str, str] = {}  # samples by path
        self.params: dict[str, dict[str, Any]] = {}  # values by their name in the file, by the file's path
        self.readers: dict[str, Read] = {}

    def changed(self) -> Iterator[str]:
        """Return the names of what is no longer as it was."""
        for path, seen in (self.files | self.imported()).items():
            if not matches(Path(path), seen):
                yield path
        for path, values in self.params.items():
            now = self.readers[path](Path(path))
            yield from (f"'{name}' in {path}" for name, value in values.items() if now.get(name) != value)

    def record(self, root: Path) -> dict[str, Any]:
        """Return what was read and written, for JSON: paths are those from the folder `root`."""
        every = {"files": self.files | self.imported(), "params": self.params, "outputs": self.outputs}
        return {
            kind: {os.path.relpath(path, root): seen for path, seen in all_.items()} for kind, all_ in every.items()
        }

    def imported(self) -> dict[str, Any]:
        """Return the code that this process has imported so far."""
        files = (getattr(module, "__file__", None) for module in [*sys.modules.values()])
        loaded = {_place(file) for file in files if file}
        return {path: seen for path, seen in self.code.items() if path in loaded}


_current: ContextVar[Inputs | None] = ContextVar("inputs", default=None)


@contextmanager
def watch() -> Iterator[Inputs]:
    """Note what is read inside the block. Outside of one nothing is noted, and nothing is refused."""
    inputs = Inputs()
    token = _current.set(inputs)
    try:
        yield inputs
    finally:
        _current.reset(token)


def see_file(path: Path) -> None:
    """Note a file, or the names in a folder. To be called before it is opened: the first sight counts."""
    if (inputs := _current.get()) and str(path) not in inputs.files:
        inputs.files[str(path)] = fingerprint(path)


def see_output(path: Path) -> None:
    """Note a file that has just been written."""
    if inputs := _current.get():
        inputs.outputs[str(path)] = sample(path)


def see_params(path: Path, values: Mapping[str, Any], read: Read) -> None:
    """Note top-level values of a parameter file, as they were read; `read` reads the whole file."""
    if inputs := _current.get():
        inputs.readers[str(path)] = read
        inputs.params[str(path)] = dict(values) | inputs.params.get(str(path), {})


def see_code(root: Path) -> None:
    """Note the modules of the packages in a folder: before they are imported, for some are imported late."""
    if inputs := _current.get():
        for path in (path for package in root.glob("*/__init__.py") for path in package.parent.rglob("*.py")):
            inputs.code[_place(str(path))] = identity(path.stat())  # not read: most of them are not imported


def code_fingerprint(path: Path) -> Any:
    """Return the fingerprint of a module. If it has changed since it was noted, it is that of no content."""
    inputs, name = _current.get(), _place(str(path))
    noted = inputs.code.get(name) if inputs else None
    return fingerprint(path) if noted is None or noted == identity(path.stat()) else noted


def matches(path: Path, seen: Any) -> bool:
    """Return whether a file or folder is still as it was seen, by its fingerprint or its identity."""
    if isinstance(seen, list) and all(isinstance(part, int) for part in seen) and path.is_file():
        return identity(path.stat()) == seen
    return bool(fingerprint(path) == seen)


def require_unchanged() -> None:
    """Raise InputError if something that was read has changed since."""
    inputs = _current.get()
    name = next(inputs.changed(), None) if inputs else None
    if name:
        received = "one, so nothing was written"
        raise InputError(name, expected="no change while it is used", received=received, hint="Run it again.")


def fingerprint(path: Path) -> Any:
    """Return what changes when a file does: its content if it is small, else its identity.

    Of a folder it is the names in it, and of nothing it is None. A list or a text, as JSON holds it.
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
    """Return a hash of a file's size and content, of blocks of it if it is large: enough to tell two results apart."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        hashed = hashlib.sha256(str(size).encode())
        step = max(BLOCK, size // BLOCKS)
        for start in range(0, size, step):
            file.seek(start)
            hashed.update(file.read(BLOCK))
    return hashed.hexdigest()


def identity(found: os.stat_result) -> list[int]:
    """Return where a file lies, its size and its times in nanoseconds, the last of which nobody can set."""
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _place(file: str) -> str:
    """Return one path for each file, by whatever links its folder is reached."""
    folder, name = os.path.split(file)
    return os.path.join(_real(folder), name)  # noqa: PTH118 (for thousands of modules Path takes ten times as long)


_real = cache(os.path.realpath)  # each folder of packages holds many modules
