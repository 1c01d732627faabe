"""The files of a data set, wherever they lie: in a folder, in a .zip or .tar.gz, or one alone."""

import functools
import gzip
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple, cast

from digits.sources.kinds import CONTAINERS, GZIP, HEAD_BYTES, NPZ, PICKLE, TAR, Foreign, kind_of
from digits.sources.roles import natural, plain
from digits.sources.stream import DAMAGE, Open, most_bytes, read_fully, reason, refusing, slice_of, wrong
from dvcproof.runtime.bounds import open_file, open_tar, open_zip
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Files in the largest folder.
MOST_FILES = 2**18

#: Bytes of the longest directory of a zip archive: of some 100,000 pictures.
ZIP_DIRECTORY_BYTES = 2**23

#: Files that are looked into to know what the whole is: only pictures come in greater numbers.
LOOKED_AT = 200

#: What systems leave in folders and archives.
_LEFTOVERS = re.compile(r"(^|/)(\.[^/]*|__MACOSX|@eaDir|thumbs\.db|ehthumbs\.db|desktop\.ini)(/|$)", re.IGNORECASE)


class File:
    """A file of a data set. Packed with gzip or not, it reads the same."""

    def __init__(self, path: str, name: str, size: int, disk: int, raw: Open) -> None:
        """Open nothing.

        Args:
            path: its path within the data set, with `/`: what it is for is known by that.
            name: what it is called in messages.
            size: its bytes.
            disk: the bytes of the file on disk that it is, or lies in.
            raw: opens it.
        """
        self.path, self.name, self.size, self.disk, self.raw = path, name, size, disk, raw

    @functools.cached_property
    def _looked(self) -> tuple[str | Foreign, bool]:
        kind: str | Foreign
        try:
            with self.raw() as file:
                kind = kind_of(read_fully(file, HEAD_BYTES))
            if kind != GZIP:
                return kind, False
            with _Gzip(self.raw()) as file:
                return kind_of(read_fully(cast(IO[bytes], file), HEAD_BYTES)), True
        except DAMAGE as error:
            if isinstance(error, OSError) and error.filename:  # not of what is in the file
                raise
            return Foreign(f"a damaged file ({reason(error)})", "Fetch or save the data set again."), False

    @property
    def kind(self) -> str | Foreign:
        """What it is, unpacked."""
        return self._looked[0]

    @property
    def packed(self) -> bool:
        """Whether it is packed with gzip."""
        return self._looked[1]

    @property
    def stored(self) -> int | None:
        """Bytes that are read from it; None if only reading them tells."""
        return None if self.packed else self.size

    def open(self) -> IO[bytes]:
        """Open it, unpacked."""
        return cast(IO[bytes], _Gzip(self.raw())) if self.packed else self.raw()

    def reachable(self, files: ExitStack) -> IO[bytes]:
        """Open it so that any place can be reached: what is packed goes through a file without a name.

        Raises:
            InputError: it is damaged, or unpacks to more than such a file can hold.
        """
        file = files.enter_context(self.open())
        if _on_disk(file):
            return file
        room, most, total = files.enter_context(tempfile.TemporaryFile()), most_bytes(self.disk), 0  # noqa: SIM115
        with refusing(self.name, "a packed file", "a damaged one"):
            while block := file.read(2**18):
                total += len(block)
                if total > most:
                    raise wrong(self.name, f"at most {most} bytes in a file of {self.disk}", "a packed file of more")
                room.write(block)
        room.flush()
        room.seek(0)
        return cast(IO[bytes], room)

    def refused(self, expected: str) -> InputError:
        """What to say of a file of a foreign or of an unexpected kind."""
        if isinstance(self.kind, Foreign):
            return wrong(self.name, expected, self.kind.words, hint=self.kind.hint)
        return wrong(self.name, expected, f"a file of the kind {self.kind}", hint="Name the data set itself.")


def without_copies(files: Sequence[File]) -> list[File]:
    """Of several copies of one file, the first: that nearest to the top, and not packed.

    In one folder they are known by their names; in others, where all sets may have the same names, by their content.
    """
    kept: list[File] = []
    for file in sorted(files, key=lambda file: (file.path.count("/"), file.packed, natural(file.path))):
        same = (one for one in kept if plain(one.path) == plain(file.path))
        if not any(_folder(one) == _folder(file) or _equal(one, file) for one in same):
            kept.append(file)
    return kept


def _folder(file: File) -> str:
    return file.path.rpartition("/")[0]


def _equal(one: File, other: File) -> bool:
    with one.open() as first, other.open() as second:
        while True:
            left, right = read_fully(first, 2**18), read_fully(second, 2**18)
            if left != right or not left:
                return left == right


class _Gzip(gzip.GzipFile):
    """A packed file that closes the one below."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._below = file

    def close(self) -> None:
        super().close()
        self._below.close()


def _on_disk(file: IO[bytes]) -> bool:
    try:
        file.fileno()
    except (AttributeError, OSError):
        return False
    return not isinstance(file, _Gzip | zipfile.ZipExtFile)


class Tree(NamedTuple):
    """All files of a data set."""

    name: str  # of the source, for messages
    files: Sequence[File]

    @property
    def looked_at(self) -> Sequence[File]:
        """The files by which the whole is known: all of a few, else the first, those at the top before others."""
        return sorted(self.files, key=lambda file: (file.path.count("/"), file.path))[:LOOKED_AT]

    def of_kind(self, *kinds: str) -> list[File]:
        """The files of some kinds, among those looked at."""
        return [file for file in self.looked_at if file.kind in kinds]


def open_tree(path: Path, files: ExitStack) -> Tree:
    """The files of a source; `files` closes it. A .npz is an archive of arrays, and so its arrays are files.

    Raises:
        InputError: an archive is damaged, or there are too many files.
    """
    see_file(path)
    if path.is_dir():
        tree = Tree(str(path), [file for file in _walk(path) if not _LEFTOVERS.search(file.path)])
        return _with_arrays(tree, files)
    file = _on_path(path, path.name)
    tree = Tree(str(path), _members(file, files, f" in {path}", "") if file.kind in CONTAINERS else [file])
    return _with_arrays(tree, files)


def unpacked(tree: Tree, files: ExitStack) -> Tree:
    """The same with the archives among its files unpacked."""
    inner = [member for file in tree.of_kind(*CONTAINERS) for member in _inside(file, files)]
    return _with_arrays(Tree(tree.name, inner), files)


def _with_arrays(tree: Tree, files: ExitStack) -> Tree:
    """The same with the arrays of each .npz in its place."""
    archives = tree.of_kind(NPZ)
    found = [file for file in tree.files if file not in archives]
    return Tree(tree.name, [*found, *(member for file in archives for member in _inside(file, files))])


def _inside(file: File, files: ExitStack) -> list[File]:
    return _members(file, files, f" in {file.name}", f"{file.path}/")


def _walk(folder: Path) -> Iterator[File]:
    count = 0
    for place, folders, names in os.walk(folder):
        see_file(Path(place))
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                raise wrong(str(folder), f"at most {MOST_FILES} files", "more", hint="Name a folder of one data set.")
            path = Path(place, name)
            yield _on_path(path, path.relative_to(folder).as_posix())


def _on_path(path: Path, short: str) -> File:
    def raw() -> IO[bytes]:
        see_file(path)
        return open_file(path)

    try:
        size = path.stat().st_size
    except OSError:  # a link that leads nowhere; whoever opens it says so
        size = 0
    return File(short, str(path), size, size, raw)


def _members(file: File, files: ExitStack, place: str, prefix: str) -> list[File]:
    """The files in an archive.

    Args:
        file: the archive.
        files: closes it.
        place: what follows the name of a file in messages.
        prefix: what goes before its path.

    Raises:
        InputError: it is damaged.
    """
    reachable = file.reachable(files)
    with refusing(file.name, "an archive", "a damaged or foreign file"):
        members = _taped(file, reachable, files) if file.kind == TAR else _zipped(file, reachable, files)
    return [
        File(prefix + name, name.removesuffix(".npy") + place, size, disk, raw)
        for name, size, disk, raw in members
        if not _LEFTOVERS.search(name)
    ]


_Member = tuple[str, int, int, Open]


def _zipped(file: File, reachable: IO[bytes], files: ExitStack) -> list[_Member]:
    archive = open_zip(reachable, files, ZIP_DIRECTORY_BYTES)
    found: dict[str, _Member] = {}
    for info in archive.infolist():
        if info.filename.endswith(".pkl"):
            raise wrong(file.name, "a data set", PICKLE.words, hint=PICKLE.hint)
        if not info.is_dir():

            def raw(info: zipfile.ZipInfo = info) -> IO[bytes]:
                if info.compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):  # others can ask for any memory
                    raise wrong(
                        f"{info.filename} in {file.name}", "a file packed with deflate", "another kind of compression"
                    )
                return archive.open(info)

            found[info.filename] = (info.filename, info.file_size, file.disk, raw)
    return [*found.values()]


def _taped(file: File, reachable: IO[bytes], files: ExitStack) -> list[_Member]:
    _, members = open_tar(reachable, files)
    return [
        (
            member.name.removeprefix("./"),
            member.size,
            file.disk,
            functools.partial(slice_of, reachable, member.offset_data, member.size),
        )
        for member in members
    ]
