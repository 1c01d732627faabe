"""Bounds on files from outside: whatever they hold, they are read or refused in little time and memory.

Regular files only, since others may never end, or never begin. What a file declares is compared with its size before
anything that large is read.
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

#: Bytes of the largest text that is read whole: parsed, it takes some thirty times as much.
TEXT_BYTES = 4 * 2**20

#: Bytes of the largest params.yaml: the reader that explains errors manages 100 kB a second.
YAML_BYTES = 2**17

#: Nodes of a YAML document with every alias written out, and how deep they may be nested.
YAML_NODES = 10_000
YAML_DEPTH = 20

#: Bytes of the longest directory of an archive.
DIRECTORY_BYTES = 2**20

#: Files in the largest tar archive: each takes a kilobyte when the archive is read.
TAR_MEMBERS = 2**17

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def require_regular(path: Path) -> None:
    """Raise InputError for a pipe, a socket or a device; OSError if there is no such file."""
    kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind:
        hint = "Copy what it gives into a file, and name that."
        raise InputError(str(path), expected="a regular file", received=kind, hint=hint)


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading, or raise as `require_regular` does. It never waits, whatever takes its place."""
    require_regular(path)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def read_bytes(path: Path, limit: int = TEXT_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Raise InputError if it is larger."""
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        hint = "Check that it is the file that is meant."
        raise InputError(str(path), expected=f"at most {limit} bytes", received="a larger file", hint=hint)
    return content


def read_text(path: Path, limit: int = TEXT_BYTES) -> str:
    """Return the same as text. Raise ValueError if it is not in UTF-8."""
    return read_bytes(path, limit).decode("utf-8")


def parse_json(text: str) -> Any:
    """Read JSON. Every number is finite. Raise ValueError if it is damaged, too deep, or has a number that is none."""
    try:
        return json.loads(text, parse_constant=finite, parse_float=finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def finite(text: str) -> float:
    """Return a number from its text. Raise ValueError if it is no number, or not a finite one."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def parse_csv(text: str) -> Iterator[dict[str, str]]:
    """Read a CSV with a header line: a mapping for each row, which has as many values as the header.

    Raise ValueError if it is no such CSV. Of rows that are too short, `csv.DictReader` would fill up any number of
    values.
    """
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(rows, [])
        if len(set(header)) < len(header):
            raise ValueError("two columns of one name")
        for row in rows:
            if row:
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} values in line {rows.line_num}, and {len(header)} columns")
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None


def require_small_yaml(text: str) -> None:
    """Raise ValueError for YAML of more than YAML_NODES with its aliases written out, or deeper than YAML_DEPTH.

    Its readers would fail on it, or DVC's. Where it is damaged this ends, for the reader to say how.
    """
    # Not above: `run` imports this module before it is known whether there are any packages.
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

    sizes: dict[str, int] = {}  # of complete nodes with an anchor
    opened: list[tuple[str | None, int]] = [(None, 0)]  # the anchor of each open node, and its nodes so far
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
    """An archive's file, of which only small parts can be read until `open` is set, when its directory is known."""

    open = False
    most = DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.open:
            return super().read(size)
        everything = size is None or size < 0  # zipfile asks for it near the end
        part = super().read(self.most + 1 if everything else min(size or 0, self.most + 1))
        if len(part) > self.most:
            raise ValueError("a directory that is too long")
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and offset < 0:  # of which the system says no more than: invalid argument
            raise ValueError("cut short, or its directory is wrong")
        return super().seek(offset, whence)


def open_archive(path: Path, files: ExitStack) -> zipfile.ZipFile:
    """Open a zip archive whose directory is of a sensible size; `files` closes it.

    Raise InputError if it is no regular file; ValueError or zipfile.BadZipFile if it is damaged.
    """
    return open_zip(files.enter_context(open_file(path)), files)


def open_zip(file: IO[bytes], files: ExitStack, directory: int = DIRECTORY_BYTES) -> zipfile.ZipFile:
    """Open a zip archive in an open file, with a directory of at most so many bytes, as `open_archive` does."""
    parts = _in_parts(file, files, directory)
    archive = files.enter_context(zipfile.ZipFile(parts))
    parts.open = True
    return archive


def open_tar(file: IO[bytes], files: ExitStack) -> tuple[tarfile.TarFile, list[tarfile.TarInfo]]:
    """Open a tar archive that is not packed, with at most TAR_MEMBERS in it; `files` closes it. Return its files too.

    Raise ValueError or tarfile.TarError if it is damaged, or has too many members.
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
