"""The files of a data set, wherever they are: in a folder, in a .zip or .tar.gz, or a single file."""

import gzip
import hashlib
import io
import os
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from digits.sources.recognize import GZIP, HEAD_BYTES, PICKLE, TAR, Foreign, kind_of, natural
from dvcproof.runtime.bounds import open_file, open_tar, open_zip
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Files in the largest folder.
MOST_FILES = 2**18

#: Bytes of the longest directory of a zip archive: of some 100,000 pictures.
ZIP_DIRECTORY_BYTES = 2**23

#: Files that are opened to find out what the whole is: only pictures come in greater numbers.
LOOKED_AT = 200

#: A packed file may unpack to PACKED_TIMES its size, or to PACKED_BYTES if that is more. Pictures are packed to a third
#: or a tenth; only what is made to fill a disk or the memory comes near a hundredth.
PACKED_TIMES = 100
PACKED_BYTES = 2**28

#: What reading a damaged or foreign file raises.
DAMAGE = (
    *(EOFError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(struct.error, tarfile.TarError, zipfile.BadZipFile, zlib.error),
)

#: The next step where the data set itself is at fault.
AGAIN = "Fetch or save the data set again."

#: What operating systems leave in folders and archives.
LEFTOVERS = re.compile(r"(^|/)(\.[^/]*|__MACOSX|@eaDir|thumbs\.db|ehthumbs\.db|desktop\.ini)(/|$)", re.IGNORECASE)


def most_bytes(disk: int) -> int:
    """Return how many bytes a packed file of `disk` bytes may unpack to."""
    return max(PACKED_BYTES, PACKED_TIMES * disk)


@contextmanager
def reading(name: str, what: str, damage: tuple[type[Exception], ...] = DAMAGE) -> Iterator[None]:
    """Turn errors of reading a damaged file into an InputError: `name` is damaged, or not `what`."""
    try:
        yield
    except damage as error:
        if isinstance(error, OSError) and error.filename:  # an I/O error, not a corrupt file
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(name, f"the file is damaged, or not {what} ({reason})", hint=AGAIN) from None


def listed(names: Iterable[str], *, nothing: str) -> str:
    """Join names, the first eight of many."""
    names = sorted(names)
    return (", ".join(names[:8]) or nothing) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@dataclass(eq=False)
class File:
    """A file of a data set. It reads the same whether it is packed with gzip or not."""

    path: str  # within the data set, with `/`: it tells what the file is for
    name: str  # what messages call it
    size: int
    disk: int  # the bytes on disk of the file or archive that holds it
    raw: Callable[[], IO[bytes]]  # opens it as it is stored

    @cached_property
    def packed(self) -> bool:
        """Return whether it is packed with gzip."""
        with self.raw() as file:
            return kind_of(file.read(HEAD_BYTES)) == GZIP

    @cached_property
    def kind(self) -> str | Foreign:
        """Return what it is, once unpacked."""
        try:
            with self.open() as file:
                return kind_of(file.read(HEAD_BYTES))
        except DAMAGE as error:
            if isinstance(error, OSError) and error.filename:  # an I/O error, not a corrupt file
                raise
            return Foreign(f"a damaged file ({error})", AGAIN)

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
    """Keep the first of several files of the same content: the one nearest to the top, and not packed."""
    kept: dict[bytes, File] = {}
    for file in sorted(files, key=lambda file: (file.path.count("/"), file.packed, natural(file.path))):
        with reading(file.name, "a packed file"), file.open() as content:
            kept.setdefault(hashlib.file_digest(cast(io.BufferedReader, content), "sha256").digest(), file)
    return [*kept.values()]


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
        archives, found = self.of_kind(*kinds), [*self.files]
        for file in archives:
            found.remove(file)
            found += _members(file, files, prefix=f"{file.path}/" if len(self.files) > 1 else "")
        return Tree(self.name, found)


def open_tree(path: Path) -> Tree:
    """Find the files of a source."""
    see_file(path)
    return Tree(str(path), [*_walk(path)] if path.is_dir() else [_on_path(path, path.name)])


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
            short = path.relative_to(folder).as_posix()
            if not LEFTOVERS.search(short):
                yield _on_path(path, short)


def _on_path(path: Path, short: str) -> File:
    def raw() -> IO[bytes]:
        see_file(path)
        return open_file(path)

    size = path.stat().st_size if path.exists() else 0  # opening a symlink to nothing fails with the reason
    return File(short, str(path), size, size, raw)


def _members(archive: File, files: ExitStack, prefix: str) -> list[File]:
    """List the files in an archive; `prefix` goes before their paths."""
    content, found = archive.seekable(files), list[tuple[str, int, Any]]()
    with reading(archive.name, "an archive"):
        if archive.kind == TAR:
            tar, members = open_tar(content, files)
            found += [(info.name.removeprefix("./"), info.size, partial(tar.extractfile, info)) for info in members]
        else:
            packed = open_zip(content, files, ZIP_DIRECTORY_BYTES)
            for info in packed.infolist():
                if info.filename.endswith(".pkl"):
                    raise InputError(archive.name, f"this is {PICKLE.words}", hint=PICKLE.hint)
                if not info.is_dir():
                    found.append((info.filename, info.file_size, partial(_open_zipped, packed, info, archive.name)))
    return [
        File(prefix + path, f"{path.removesuffix('.npy')} in {archive.name}", size, archive.disk, raw)
        for path, size, raw in found
        if not LEFTOVERS.search(path)
    ]


def _open_zipped(packed: zipfile.ZipFile, info: zipfile.ZipInfo, archive: str) -> IO[bytes]:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can ask for any memory
        hint = "Pack it with deflate, which is zip's default."
        raise InputError(f"{info.filename} in {archive}", "it is compressed in another way than deflate", hint=hint)
    return packed.open(info)
