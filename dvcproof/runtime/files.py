"""Write files so that they appear only when complete, write JSON and CSV in one fixed form, and hash files.

With a fixed form, equal results have equal bytes.
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

#: The beginning of the names of temporary folders. A file is first written into one beside its final path. Git ignores
#: these folders.
ROOM = ".writing-"

#: Most rows that `read_csv` accepts. A training has at most 10,000 epochs.
MOST_ROWS = 20_000


@contextmanager
def replacing(*paths: Path, results: bool = True, folders: bool = False) -> Iterator[list[Path]]:
    """Yield a temporary path for each of `paths`, and rename them all into place if the block succeeds.

    After an error, all paths are as before, and no temporary file is left. Temporary files that a killed process left
    are removed.

    Args:
        results: whether the paths are results of this run. If so, the inputs that the run has read must not have
            changed, and the paths are noted as outputs of the run.
        folders: whether the paths may be folders.

    Raise InputError if a folder or a file is in the way, or an input of this run has changed.
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
    """Check before long work that `replacing` can write the paths, and that the first path's disk has `size` bytes.

    Raise InputError if a folder or a file is in the way; OSError if a path cannot be written or the disk is too full.
    """
    with suppress(_TriedError), replacing(*paths, results=False) as (first, *_):
        first.write_bytes(bytes(size))
        raise _TriedError


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """Make a hidden temporary folder in `folder`, and remove it after the block.

    A lock marks the temporary folder as in use. The system releases the lock if the process dies. The folder's name is
    random: a process id is not unique if containers share a disk.
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
    """Remove the temporary folders that killed processes left in `folder`, and return their paths.

    Temporary folders in use stay.
    """
    cleared = []
    for room in folder.glob(f"{ROOM}{'[0-9a-f]' * 8}"):
        if (held := _lock(room, wait=False)) is not None:
            shutil.rmtree(room, ignore_errors=True)
            os.close(held)
            cleared.append(room)
    return cleared


def _lock(room: Path, *, wait: bool) -> int | None:
    """Lock a folder. Return the descriptor that holds the lock, or None if the folder is locked or gone."""
    try:
        held = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process holds the lock, or the disk has no locks and nothing is cleared
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
    """Keep a file under a second name: as a hard link, so that `path` always exists; else by moving the file."""
    try:
        os.link(path, earlier, follow_symlinks=False)
    except OSError:
        path.replace(earlier)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file's content, in hexadecimal. DVC uses 'md5'."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    with open_file(path) as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented by two spaces, with keys in the given order and floats rounded to six decimals.

    Raise ValueError for a float that is not finite.
    """
    path.write_text(json.dumps(_rounded(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with a header line and Unix line ends. Floats are rounded to six decimals."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_rounded(value) for value in row] for row in rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header line. Return a mapping from column to value for each row.

    Raise InputError if the CSV is damaged, or has more than MOST_ROWS rows.
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
