"""Files: complete when they appear; small results as JSON and CSV in one fixed form, so that equal results are equal
bytes; and the hash of a file.
"""

import csv
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from dvcproof.runtime.bounds import open_file, parse_csv, read_text
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import require_unchanged, see_file, see_output

#: How the hidden folders begin in which files are written, beside the place that they are for. Git ignores them.
ROOM = ".writing-"

#: Rows of the longest small result: a training has at most 10,000 epochs.
MOST_ROWS = 20_000


@contextmanager
def replacing(*paths: Path, results: bool = True, folders: bool = False) -> Iterator[list[Path]]:
    """Give a temporary path for each of `paths`, and rename them all into place once the block has succeeded.

    After an error none of the paths has changed and no file is left behind. What a killed process left is removed.

    Args:
        paths: the files.
        results: whether they are what this run is for: then what it has read must still be what it was, and they are
            noted as its outputs.
        folders: whether the paths may be folders.

    Raises:
        InputError: something that is no folder stands where a folder must be, or a folder where a file must be; or
            what this run has read is no longer what it was.
    """
    for path in paths:
        _make_room(path, folders=folders)
    with ExitStack() as rooms:
        try:
            room = {folder: rooms.enter_context(_room(folder)) for folder in {path.parent for path in paths}}
            temporary = [room[path.parent] / path.name for path in paths]
            yield temporary
            if results:
                require_unchanged()
            _rename_all(temporary, paths)
            for path in paths if results else ():
                see_output(path)
        except OSError as error:
            if error.filename is None or ROOM in str(error.filename):
                error.filename = str(paths[0].parent)  # the user does not know the temporary names
            raise


class _TriedError(Exception):
    pass


def require_room(size: int, *paths: Path) -> None:
    """Raise before long work what `replacing` would raise after it, or if the first path's disk lacks `size` bytes."""
    with suppress(_TriedError), replacing(*paths, results=False) as (first, *_):
        first.write_bytes(bytes(size))
        raise _TriedError


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A hidden folder in another one. A lock, which the system takes back from a dead process, says that it is in use.

    Its name is random, and not the process number: containers that share a disk can share that too.
    """
    clear_rooms(folder)
    held = None
    while held is None:
        room = folder / f"{ROOM}{secrets.token_hex(4)}"
        room.mkdir()
        held = _lock(room, wait=True)  # None: another process has just cleared it away
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(held)


def clear_rooms(folder: Path) -> list[Path]:
    """Remove what killed processes left of their writing into a folder. What another process still writes stays."""
    cleared = []
    for room in folder.glob(f"{ROOM}{'[0-9a-f]' * 8}"):
        if (held := _lock(room, wait=False)) is not None:
            shutil.rmtree(room, ignore_errors=True)
            os.close(held)
            cleared.append(room)
    return cleared


def _lock(room: Path, *, wait: bool) -> int | None:
    """Lock a folder. Gives the descriptor that holds the lock, or None if the folder is locked or gone."""
    try:
        held = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # locked, or a disk without locks, on which nothing is cleared
        if not wait:
            os.close(held)
            return None
    if not room.exists():
        os.close(held)
        return None
    return held


def _make_room(path: Path, *, folders: bool) -> None:
    hint = "Move it away, or choose another path."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(str(path.parent), expected="a folder", received="something else", hint=hint) from None
    if path.is_dir() and not folders:
        raise InputError(str(path), expected="a file, or nothing yet", received="a folder", hint=hint)


def _rename_all(temporary: Sequence[Path], paths: Sequence[Path]) -> None:
    """Rename each file into place; after an error, put back what was there."""
    kept: list[tuple[Path, Path | None]] = []
    try:
        for written, path in zip(temporary, paths, strict=True):
            earlier = written.with_name(f"{written.name}.old") if os.path.lexists(path) else None
            kept.append((path, earlier))
            if earlier is not None:
                _keep(path, earlier)
            written.replace(path)
    except BaseException:
        for path, earlier in kept:
            if earlier is None:
                path.unlink(missing_ok=True)
            elif os.path.lexists(earlier):
                earlier.replace(path)
        raise


def _keep(path: Path, earlier: Path) -> None:
    """Give a file a second name, so that its first is never without one; where a disk cannot, move it."""
    try:
        os.link(path, earlier, follow_symlinks=False)
    except OSError:
        path.replace(earlier)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, in hexadecimal. DVC names files by their 'md5'."""
    with open_file(path) as file:
        found = hashlib.new(algorithm, usedforsecurity=False)
        while block := file.read(2**20):
            found.update(block)
        return found.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON, two spaces deep, in the order given. Floats are finite, and rounded to six decimals."""
    path.write_text(json.dumps(_rounded(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with a header line and Unix line ends. Floats are rounded to six decimals."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_rounded(value) for value in row] for row in rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header line: one mapping per row.

    Raises:
        InputError: the file is no text in UTF-8, no CSV, or too long.
    """
    see_file(path)
    try:
        rows = list(islice(parse_csv(read_text(path)), MOST_ROWS + 1))
        if len(rows) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS} rows")
        return rows
    except ValueError as error:
        raise InputError(
            str(path), expected="a CSV file", received=f"a damaged file ({error})", hint="Run `dvc repro`."
        ) from None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) + 0.0  # -0.0 becomes 0.0: the sign of next to nothing is noise
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
