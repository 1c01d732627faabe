"""Files: complete when they appear; small results as JSON and CSV in one fixed form, so that equal results are equal
bytes; and the hash of a file.
"""

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from digits.common.cli import InputError


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Give a temporary path beside each of `paths`, and rename them all into place once the block has succeeded.

    After an error none of the paths has changed and no file is left behind.

    Raises:
        InputError: something that is no folder stands where a folder must be, or a folder where a file must be.
    """
    # Random, not the process number: containers that share a disk can share that too.
    token = secrets.token_hex(4)
    temporary = [path.with_name(f".{path.stem}.{token}{path.suffix}") for path in paths]
    for path in paths:
        _make_room(path)
    try:
        yield temporary
        _rename_all(temporary, paths)
    except OSError as error:
        if error.filename is None or Path(error.filename) in temporary:
            error.filename = str(paths[0].parent)  # the user does not know the temporary names
        raise
    finally:
        for written in temporary:
            written.unlink(missing_ok=True)


def _make_room(path: Path) -> None:
    hint = "Move it away, or choose another path."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(str(path.parent), expected="a folder", received="something else", hint=hint) from None
    if path.is_dir():
        raise InputError(str(path), expected="a file, or nothing yet", received="a folder", hint=hint)


def _rename_all(temporary: Sequence[Path], paths: Sequence[Path]) -> None:
    """Rename each file into place; after an error, put back what was there."""
    kept: list[tuple[Path, Path | None]] = []
    try:
        for written, path in zip(temporary, paths, strict=True):
            earlier = written.with_name(f"{written.name}.old") if os.path.lexists(path) else None
            kept.append((path, earlier))
            if earlier is not None:
                path.replace(earlier)
            written.replace(path)
    except BaseException:
        for path, earlier in kept:
            if earlier is None:
                path.unlink(missing_ok=True)
            elif os.path.lexists(earlier):
                earlier.replace(path)
        raise
    for _, earlier in kept:
        if earlier is not None:
            earlier.unlink()


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, in hexadecimal. DVC names files by their 'md5'."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON, two spaces deep, in the order given. Floats are rounded to six decimals."""
    path.write_text(json.dumps(_rounded(content), indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with a header line and Unix line ends. Floats are rounded to six decimals."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_rounded(value) for value in row] for row in rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header line: one mapping per row.

    Raises:
        InputError: the file is no text in UTF-8, or no CSV.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
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
