"""Limits for files from outside: any file, whatever its content, is read or refused in little time and memory.

Only regular files are read: a pipe, a socket or a device may never end, or never begin. Sizes are checked before
anything large is read.
"""

import csv
import io
import json
import math
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from dvcproof.runtime.program import InputError

#: Bytes of the largest text that is read whole. A parsed text takes about thirty times as much memory.
TEXT_BYTES = 4 * 2**20

#: Bytes of the largest params.yaml. The YAML parser in pure Python, which explains errors best, reads 100 kB a second.
YAML_BYTES = 2**17

#: Most nodes of a YAML document after every alias is expanded, and most levels of nesting.
YAML_NODES = 10_000
YAML_DEPTH = 20

#: Bytes of the longest directory of an archive.
DIRECTORY_BYTES = 2**20

#: Most files in a tar archive. Each takes a kilobyte of memory when the archive is read.
TAR_MEMBERS = 2**17

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def require_regular(path: Path) -> None:
    """Raise InputError if the path is a pipe, a socket or a device; OSError if the file does not exist."""
    kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind:
        hint = "Copy its content into a file, and name that file."
        raise InputError(str(path), expected="a regular file", received=kind, hint=hint)


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Never block, even if a pipe has replaced the file since the check.

    Raise InputError if the path is a pipe, a socket or a device; OSError if the file does not exist.
    """
    require_regular(path)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def read_bytes(path: Path, limit: int = TEXT_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Raise InputError if it is larger."""
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        hint = "Check that this is the file you mean."
        raise InputError(str(path), expected=f"at most {limit} bytes", received="a larger file", hint=hint)
    return content


def read_text(path: Path, limit: int = TEXT_BYTES) -> str:
    """Return the text of a regular file of at most `limit` bytes.

    Raise InputError if the file is larger; ValueError if the text is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8")


def parse_json(text: str) -> Any:
    """Parse JSON in which every number is finite.

    Raise ValueError if the text is damaged, nested too deeply, or has NaN or infinity.
    """
    try:
        return json.loads(text, parse_constant=finite, parse_float=finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def finite(text: str) -> float:
    """Parse a finite number. Raise ValueError for any other text."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return value


def parse_csv(text: str) -> Iterator[dict[str, str]]:
    """Parse a CSV with a header line. Return a mapping from column to value for each row.

    Raise ValueError if the CSV is damaged, or a row has more or fewer values than the header. (`csv.DictReader` would
    silently fill up short rows.)
    """
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(rows, [])
        if len(set(header)) < len(header):
            raise ValueError("two columns have the same name")
        for row in rows:
            if row:
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} values in line {rows.line_num}, and {len(header)} columns")
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None


def require_small_yaml(text: str) -> None:
    """Raise ValueError for YAML with more than YAML_NODES nodes after aliases are expanded, or nested too deeply.

    Such YAML exhausts the memory or the stack of a YAML parser. At most YAML_DEPTH levels are allowed. A syntax error
    raises ruamel's YAMLError.
    """
    # Imported here because `run` imports this module before it has checked which packages are installed.
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

    sizes: dict[str, int] = {}  # anchor -> number of nodes, for complete nodes
    opened: list[tuple[str | None, int]] = [(None, 0)]  # for each open node: its anchor, and its number of nodes so far
    for event in YAML(typ="safe").parse(text):
        anchor, size = getattr(event, "anchor", None), 1
        if isinstance(event, CollectionStartEvent):
            opened.append((anchor, 1))
            if len(opened) > YAML_DEPTH + 1:
                raise ValueError(f"more than {YAML_DEPTH} levels")
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, size = opened.pop()
        elif isinstance(event, AliasEvent):
            if anchor in (open_anchor for open_anchor, _ in opened):
                raise ValueError(f"'{anchor}' within itself")
            size = sizes.get(str(anchor), 1)
        elif not isinstance(event, NodeEvent):
            continue
        if anchor:
            sizes[anchor] = size
        outer, before = opened[-1]
        opened[-1] = outer, before + size
        if before + size > YAML_NODES:
            raise ValueError(f"more than {YAML_NODES} values")


class _InParts(io.BufferedReader):
    """The file of an archive. Until `open` is set, each read is limited to `most` bytes.

    `open` is set once the directory of the archive has been read.
    """

    open = False
    most = DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.open:
            return super().read(size)
        everything = size is None or size < 0  # zipfile reads the end of the file in this way
        part = super().read(self.most + 1 if everything else min(size or 0, self.most + 1))
        if len(part) > self.most:
            raise ValueError("a header or list of files that is too long")
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and offset < 0:  # the system's own error is only "Invalid argument"
            raise ValueError("cut short, or its directory is wrong")
        return super().seek(offset, whence)


def open_archive(path: Path, files: ExitStack) -> zipfile.ZipFile:
    """Open a zip archive whose directory has at most DIRECTORY_BYTES. The stack `files` closes the archive.

    Raise InputError if the path is not a regular file; ValueError or zipfile.BadZipFile if the archive is damaged.
    """
    return open_zip(files.enter_context(open_file(path)), files)


def open_zip(file: IO[bytes], files: ExitStack, directory: int = DIRECTORY_BYTES) -> zipfile.ZipFile:
    """Open a zip archive in an open file. The stack `files` closes the archive.

    Args:
        directory: the most bytes that the archive's directory may have.

    Raise ValueError or zipfile.BadZipFile if the archive is damaged, or its directory is larger.
    """
    parts = _in_parts(file, files, directory)
    archive = files.enter_context(zipfile.ZipFile(parts))
    parts.open = True
    return archive


def open_tar(file: IO[bytes], files: ExitStack) -> tuple[tarfile.TarFile, list[tarfile.TarInfo]]:
    """Open an uncompressed tar archive. Return the archive and its regular files. The stack `files` closes the archive.

    Raise ValueError or tarfile.TarError if the archive is damaged, or has more than TAR_MEMBERS members.
    """
    parts = _in_parts(file, files, DIRECTORY_BYTES)
    archive = files.enter_context(tarfile.TarFile(fileobj=parts))
    members = []
    for count, member in enumerate(archive):
        if count >= TAR_MEMBERS:
            raise ValueError(f"more than {TAR_MEMBERS} files")
        if member.isreg() and not member.issparse():
            members.append(member)
    parts.open = True
    return archive, members


def _in_parts(file: IO[bytes], files: ExitStack, most: int) -> _InParts:
    parts = files.enter_context(_InParts(io.FileIO(file.fileno(), closefd=False)))
    parts.seek(0)
    parts.most = most
    return parts
