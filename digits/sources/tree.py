"""The files of a data set, wherever they are: in a folder, in a .zip or .tar.gz, or a single file."""

import gzip
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from digits.sources.recognize import CONTAINERS, GZIP, HEAD_BYTES, NPZ, PICKLE, TAR, Foreign, kind_of, natural, plain
from digits.sources.rows import AGAIN, DAMAGE, most_bytes, reading
from dvcproof.runtime.bounds import open_file, open_tar, open_zip
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Files in the largest folder.
MOST_FILES = 2**18

#: Bytes of the longest directory of a zip archive: of some 100,000 pictures.
ZIP_DIRECTORY_BYTES = 2**23

#: Files that are opened to find out what the whole is: only pictures come in greater numbers.
LOOKED_AT = 200

#: What operating systems leave in folders and archives.
LEFTOVERS = re.compile(r"(^|/)(\.[^/]*|__MACOSX|@eaDir|thumbs\.db|ehthumbs\.db|desktop\.ini)(/|$)", re.IGNORECASE)


@dataclass(eq=False)
class File:
    """A file of a data set. It reads the same whether it is packed with gzip or not."""

    path: str  # within the data set, with `/`: it tells what the file is for
    name: str  # what messages call it
    size: int
    disk: int  # the bytes on disk of the file or archive that holds it
    raw: Callable[[], IO[bytes]]  # opens it as it is stored

    @cached_property
    def _looked(self) -> tuple[str | Foreign, bool]:
        try:
            with self.raw() as file:
                kind = kind_of(file.read(HEAD_BYTES))
            if kind != GZIP:
                return kind, False
            with _unpacking(self.raw()) as file:
                return kind_of(file.read(HEAD_BYTES)), True
        except DAMAGE as error:
            if isinstance(error, OSError) and error.filename:  # an I/O error, not a corrupt file
                raise
            return Foreign(f"a damaged file ({error})", AGAIN), False

    @property
    def kind(self) -> str | Foreign:
        """Return what it is, once unpacked."""
        return self._looked[0]

    @property
    def packed(self) -> bool:
        """Return whether it is packed with gzip."""
        return self._looked[1]

    def open(self) -> IO[bytes]:
        """Open it, unpacked."""
        return _unpacking(self.raw()) if self.packed else self.raw()

    def seekable(self, files: ExitStack) -> IO[bytes]:
        """Open it so that any part can be read: through a temporary file unless it is a plain file on disk."""
        file = files.enter_context(self.open())
        if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO):
            return file
        room, left = files.enter_context(tempfile.TemporaryFile()), most_bytes(self.disk)  # noqa: SIM115
        with reading(self.name, "a packed file"):
            while block := file.read(2**18):
                left -= len(block)
                if left < 0:
                    raise InputError(self.name, f"it unpacks to more than {most_bytes(self.disk)} bytes", hint=AGAIN)
                room.write(block)
        room.flush()
        return cast(IO[bytes], room)

    def refused(self, expected: str) -> InputError:
        """Return the error that this file is foreign or of an unexpected kind."""
        kind, hint = f"a file of the kind {self.kind}", "Set `load.source` in params.yaml to the data set itself."
        if isinstance(self.kind, Foreign):
            kind, hint = self.kind.words, self.kind.hint
        return InputError(self.name, f"this is {kind}, not {expected}", hint=hint)


def _unpacking(file: IO[bytes]) -> IO[bytes]:
    unpacked = gzip.GzipFile(fileobj=file)
    unpacked.myfileobj = cast(io.FileIO, file)  # closed with it
    return cast(IO[bytes], unpacked)


def without_copies(files: Sequence[File]) -> list[File]:
    """Keep the first of several copies of one file: the one nearest to the top, and not packed.

    In one folder, copies are known by their names; in others, where all sets may have the same names, by content.
    """
    kept: list[File] = []
    for file in sorted(files, key=lambda file: (file.path.count("/"), file.packed, natural(file.path))):
        alike = (one for one in kept if plain(one.path) == plain(file.path))
        folder = file.path.rpartition("/")[0]
        if not any(one.path.rpartition("/")[0] == folder or _equal(one, file) for one in alike):
            kept.append(file)
    return kept


def _equal(one: File, other: File) -> bool:
    with one.open() as first, other.open() as second:
        while True:
            left, right = first.read(2**18), second.read(2**18)
            if left != right or not left:
                return left == right


class Tree(NamedTuple):
    """All files of a data set."""

    name: str  # of the source, for messages
    files: Sequence[File]

    @property
    def looked_at(self) -> Sequence[File]:
        """Return the files that tell what the whole is: all of a few, else the first, beginning with the top folder."""
        return sorted(self.files, key=lambda file: (file.path.count("/"), file.path))[:LOOKED_AT]

    def of_kind(self, *kinds: str) -> list[File]:
        """Return the files of some kinds, among those looked at."""
        return [file for file in self.looked_at if file.kind in kinds]

    def unpacked(self, files: ExitStack, *kinds: str) -> "Tree":
        """Return the same with the archives of some kinds replaced by their members; `files` closes them."""
        archives = self.of_kind(*kinds)
        members = [m for file in archives for m in _members(file, files, f" in {file.name}", f"{file.path}/")]
        return Tree(self.name, [*(file for file in self.files if file not in archives), *members])


def open_tree(path: Path, files: ExitStack) -> Tree:
    """Find the files of a source; `files` closes it. A .npz is an archive, and its arrays are files."""
    see_file(path)
    if path.is_dir():
        found = [file for file in _walk(path) if not LEFTOVERS.search(file.path)]
    else:
        file = _on_path(path, path.name)
        found = _members(file, files, f" in {path}", "") if file.kind in CONTAINERS else [file]
    return Tree(str(path), found).unpacked(files, NPZ)


def _walk(folder: Path) -> Iterator[File]:
    count = 0
    for place, folders, names in os.walk(folder):
        see_file(Path(place))
        folders.sort()
        count += len(names)
        if count > MOST_FILES:
            hint = "Set `load.source` to a folder of one data set."
            raise InputError(str(folder), f"there are more than {MOST_FILES} files in it", hint=hint)
        for path in (Path(place, name) for name in sorted(names)):
            yield _on_path(path, path.relative_to(folder).as_posix())


def _on_path(path: Path, short: str) -> File:
    def raw() -> IO[bytes]:
        see_file(path)
        return open_file(path)

    size = path.stat().st_size if path.exists() else 0  # opening a symlink to nothing fails with the reason
    return File(short, str(path), size, size, raw)


def _members(archive: File, files: ExitStack, where: str, prefix: str) -> list[File]:
    """List the files in an archive. In messages `where` follows their names; `prefix` goes before their paths."""
    content, found = archive.seekable(files), dict[str, tuple[int, Callable[[], IO[bytes]]]]()
    with reading(archive.name, "an archive"):
        if archive.kind == TAR:
            tar, members = open_tar(content, files)
            for member in members:
                opener = cast(Callable[[], IO[bytes]], partial(tar.extractfile, member))
                found[member.name.removeprefix("./")] = member.size, opener
        else:
            packed = open_zip(content, files, ZIP_DIRECTORY_BYTES)
            for info in packed.infolist():
                if info.filename.endswith(".pkl"):
                    raise InputError(archive.name, f"this is {PICKLE.words}", hint=PICKLE.hint)
                if not info.is_dir():
                    found[info.filename] = info.file_size, partial(_open_zipped, packed, info, where)
    return [
        File(prefix + path, path.removesuffix(".npy") + where, size, archive.disk, raw)
        for path, (size, raw) in found.items()
        if not LEFTOVERS.search(path)
    ]


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> IO[bytes]:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can ask for any memory
        hint = "Pack it with deflate, which is zip's default."
        raise InputError(f"{info.filename}{where}", "it is compressed in another way than deflate", hint=hint)
    return archive.open(info)
