"""The files of a data set: in a folder, in a .zip or .tar.gz archive, or a single file."""

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

#: The most bytes of the directory of a zip archive. This is enough for some 100,000 pictures.
ZIP_DIRECTORY_BYTES = 2**23

#: The most files that are opened to find out the form of a data set. Only pictures come in greater numbers.
LOOKED_AT = 200

#: A compressed file may unpack to PACKED_TIMES its size, or to PACKED_BYTES if that is more. Images are compressed to a
#: third or a tenth of their size. Only a file made to fill a disk or the memory is compressed to a hundredth.
PACKED_TIMES = 100
PACKED_BYTES = 2**28

#: The errors that are raised when a damaged or foreign file is read.
DAMAGE = (
    *(EOFError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(struct.error, tarfile.TarError, zipfile.BadZipFile, zlib.error),
)

#: The next step if the data set itself is at fault.
AGAIN = "Fetch or save the data set again."

#: Files that operating systems leave in folders and archives.
LEFTOVERS = re.compile(r"(^|/)(\.[^/]*|__MACOSX|@eaDir|thumbs\.db|ehthumbs\.db|desktop\.ini)(/|$)", re.IGNORECASE)


def most_bytes(disk: int) -> int:
    """Return the most bytes to which a file of `disk` bytes may unpack."""
    return max(PACKED_BYTES, PACKED_TIMES * disk)


@contextmanager
def reading(name: str, what: str, damage: tuple[type[Exception], ...] = DAMAGE) -> Iterator[None]:
    """Replace errors of the kinds `damage` inside this block by an InputError: `name` is damaged, or not `what`."""
    try:
        yield
    except damage as error:
        if isinstance(error, OSError) and error.filename:  # an I/O error, not a corrupt file
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(name, f"the file is damaged, or not {what} ({reason})", hint=AGAIN) from None


def listed(names: Iterable[str], *, nothing: str) -> str:
    """Join names with commas: the first eight and the number of the others, or `nothing` if there are no names."""
    names = sorted(names)
    return (", ".join(names[:8]) or nothing) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@dataclass(eq=False)
class File:
    """A file of a data set. Whether it is compressed with gzip makes no difference to a reader."""

    path: str  # relative path within the data set, with `/`; it shows the purpose of the file
    name: str  # the name of the file in messages
    size: int  # bytes
    disk: int  # bytes on disk of the file, or of the archive that contains it
    raw: Callable[[], IO[bytes]]  # opens the file without unpacking it

    @cached_property
    def packed(self) -> bool:
        """Return whether the file is compressed with gzip."""
        with self.raw() as file:
            return kind_of(file.read(HEAD_BYTES)) == GZIP

    @cached_property
    def kind(self) -> str | Foreign:
        """Return the kind of the unpacked file."""
        try:
            with self.open() as file:
                return kind_of(file.read(HEAD_BYTES))
        except DAMAGE as error:
            if isinstance(error, OSError) and error.filename:  # an I/O error, not a corrupt file
                raise
            return Foreign(f"a damaged file ({error})", AGAIN)

    def open(self) -> IO[bytes]:
        """Open the file for reading, unpacked."""
        file = self.raw()
        if not self.packed:
            return file
        unpacked = gzip.GzipFile(fileobj=file)
        unpacked.myfileobj = cast(io.FileIO, file)  # closed with it
        return cast(IO[bytes], unpacked)

    def seekable(self, files: ExitStack) -> IO[bytes]:
        """Open the file so that `seek` is fast: through a temporary file unless it is a plain file on disk."""
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
        """Return the error to raise if this file was expected to be `expected`: it says what the file is instead."""
        kind, hint = f"a file of the kind {self.kind}", "Set `load.source` in params.yaml to the data set itself."
        if isinstance(self.kind, Foreign):
            kind, hint = self.kind.words, self.kind.hint
        return InputError(self.name, f"this is {kind}, not {expected}", hint=hint)


def without_copies(files: Sequence[File]) -> list[File]:
    """Return the files without duplicates. Of equal files, keep the one nearest to the top, then an unpacked one."""
    kept: dict[bytes, File] = {}
    for file in sorted(files, key=lambda file: (file.path.count("/"), file.packed, natural(file.path))):
        with reading(file.name, "a packed file"), file.open() as content:
            kept.setdefault(hashlib.file_digest(cast(io.BufferedReader, content), "sha256").digest(), file)
    return [*kept.values()]


class Tree(NamedTuple):
    """All files of a data set."""

    name: str  # the name of the source in messages
    files: Sequence[File]

    @property
    def looked_at(self) -> Sequence[File]:
        """Return the files that decide about the form of the data set: at most LOOKED_AT, from the top folder down."""
        return sorted(self.files, key=lambda file: (file.path.count("/"), file.path))[:LOOKED_AT]

    def of_kind(self, *kinds: str) -> list[File]:
        """Return the files of these kinds among `looked_at`."""
        return [file for file in self.looked_at if file.kind in kinds]

    def unpacked(self, files: ExitStack, *kinds: str) -> "Tree":
        """Return a tree in which the archives of these kinds are replaced by their members. `files` closes them."""
        archives, found = self.of_kind(*kinds), [*self.files]
        for file in archives:
            found.remove(file)
            found += _members(file, files, prefix=f"{file.path}/" if len(self.files) > 1 else "")
        return Tree(self.name, found)


def open_tree(path: Path) -> Tree:
    """Return all files of a source."""
    see_file(path)
    found = [] if path.is_dir() else [_on_path(path, path.name)]
    for place, folders, names in os.walk(path):  # nothing, if it is a file
        see_file(Path(place))
        folders.sort()
        inside = ((file, file.relative_to(path).as_posix()) for file in (Path(place, name) for name in sorted(names)))
        found += [_on_path(file, short) for file, short in inside if not LEFTOVERS.search(short)]
    return Tree(str(path), found)


def _on_path(path: Path, short: str) -> File:
    def raw() -> IO[bytes]:
        see_file(path)
        return open_file(path)

    size = path.stat().st_size if path.exists() else 0  # a broken symlink raises an error later, when it is opened
    return File(short, str(path), size, size, raw)


def _members(archive: File, files: ExitStack, prefix: str) -> list[File]:
    """Return the files in an archive. `prefix` is put before their paths."""
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
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # other methods may use unlimited memory
        hint = "Pack it with deflate, which is zip's default."
        raise InputError(f"{info.filename} in {archive}", "it is compressed in another way than deflate", hint=hint)
    return packed.open(info)
