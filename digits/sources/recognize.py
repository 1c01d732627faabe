"""Recognize files: the kind by the first bytes, since a name may be wrong, and the purpose by the path."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

T = TypeVar("T")

#: The number of first bytes that are enough to recognize a file.
HEAD_BYTES = 4096

#: The kinds of files that a data set can consist of.
GZIP, ZIP, NPZ, TAR = "gzip", "zip", "npz", "tar"
NPY, IDX, PARQUET, TABLE, PICTURE = "npy", "IDX", "Parquet", "table", "picture"

#: The fewest fields in the first line of a table of images: 8 x 8 pixels.
LEAST_FIELDS = 64


class Foreign(NamedTuple):
    """A kind of file from which no data set can be read."""

    words: str  # its name for people
    hint: str  # the next step


_FETCH = "Open the address in a browser, and download the file itself from there."
_TRUSTED = (
    "Only if you trust its origin: load it in a program of your own, and save the arrays with "
    "`np.savez('data.npz', x_train=..., y_train=..., x_test=..., y_test=...)`, texts as `y.astype(str)`."
)
_ARRAYS = (
    "Save the arrays with NumPy: `np.savez('data.npz', x_train=..., y_train=..., x_test=..., y_test=...)`, "
    "and set `load.source` to data.npz."
)
_UNPACK = "Unpack it, and set `load.source` to the folder."

EMPTY = Foreign("an empty file", "Fetch or copy it again.")
UNKNOWN = Foreign("a file of unknown kind", "Fetch it again, or save the data set in one of the forms in docs/data.md.")
PICKLE = Foreign("a pickle, which can run any program and is never opened", _TRUSTED)

_KNOWN = (
    (rb"\x1f\x8b", GZIP),
    (rb"PK\x03\x04.{26}[^\x00\xff]{1,200}?\.npy", NPZ),
    (rb"PK(\x03\x04|\x05\x06)", ZIP),
    (rb"\x93NUMPY", NPY),
    (rb"\x00\x00[\x08\x09\x0b-\x0e][\x01-\x04]", IDX),
    (rb"PAR1", PARQUET),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\x00{4}|RIFF.{4}WEBP|II\*\x00|MM\x00\*|P[1-6]\s", PICTURE),
    (rb".{257}ustar", TAR),
)

_FOREIGN = (
    (rb"\s*<(!doctype html|html|head|body)", "a web page", _FETCH),
    (rb"\s*<\?xml", "an XML document, perhaps a server's error message", _FETCH),
    (rb"version https://git-lfs", "a Git LFS pointer", "Run `git lfs pull` in the repository that it came from."),
    (rb"outs:\s", "a .dvc file", "Run `dvc pull`, and set `load.source` to the file that it names."),
    (rb"\x80[\x02-\x05]|\(lp0\n|\(dp0\n", *PICKLE),
    (rb"\x89HDF\r\n", "an HDF5 file", _ARRAYS),
    (rb"MATLAB 5\.0", "a MATLAB file", f"Read it with `scipy.io.loadmat`. {_ARRAYS}"),
    (rb"ARROW1|FEA1", "an Arrow file", "Save it as Parquet."),
    (rb"\xfd7zXZ|BZh[1-9]|\x28\xb5\x2f\xfd", "a file packed with xz, bzip2 or zstd", _UNPACK),
    (rb"7z\xbc\xaf|Rar!", "a 7z or RAR archive", _UNPACK),
    (rb"\s*(%[^\n]*\n\s*)*@relation", "an ARFF file", "Save it as CSV with a header, the labels in a column `label`."),
    (rb"SQLite format 3", "a SQLite database", _ARRAYS),
    (rb"\xff\xfe|\xfe\xff", "text in UTF-16", "Save it again in UTF-8."),
    (rb"\s*[\[{]", "JSON", _ARRAYS),
)


def kind_of(head: bytes) -> str | Foreign:
    """Return the kind of a file. `head` are its first HEAD_BYTES bytes, or the whole of a shorter file."""
    if not head:
        return EMPTY
    for pattern, kind in _KNOWN:
        if re.match(pattern, head, re.DOTALL):
            return kind
    for pattern, words, hint in _FOREIGN:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return Foreign(words, hint)
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    text_of_many_fields = b"\0" not in line and max(map(line.count, (b",", b";", b"\t"))) >= LEAST_FIELDS - 1
    return TABLE if text_of_many_fields else UNKNOWN


# The purpose of a file

TRAIN, TEST, VALIDATION = "train", "test", "validation"
NAMED = {TRAIN: "training", TEST: "test", VALIDATION: "validation"}

#: Words in names that mean a set, images or labels. Some words may be joined: `xtrain`, `trainimages`, `test10k`.
_JOINED = r"(x|y|s|set|data|images?|imgs?|labels?|\d+k?)?"
_SPLITS = (
    (TRAIN, re.compile(rf"[xy]?(train|training|trn){_JOINED}|[xy]?tr")),
    (TEST, re.compile(rf"[xy]?(test|testing|tst){_JOINED}|t10k|[xy]?te")),
    (VALIDATION, re.compile(rf"[xy]?(val|valid|validation|dev){_JOINED}")),
)
_IMAGES = re.compile(
    r"x|x(train|test|val|tr|te).*|(train|test|val).*(x|images?|imgs?)|images?|imgs?|pixels?|features?|data"
)
_LABELS = re.compile(r"y|y(train|test|val|tr|te).*|(train|test|val).*(y|labels?)|labels?|lbls?|targets?|class(es)?")

#: Names of a column of labels in a table, and of a column with numbers of rows.
LABEL_COLUMN = re.compile(r"labels?|class(es)?|targets?|y|digits?|category", re.IGNORECASE)
NUMBER_COLUMN = re.compile(r"|id|idx|index|image_?id|unnamed: 0|__index_level_0__", re.IGNORECASE)


def words(name: str) -> list[str]:
    """Split a name into words in lower case: 'trainImages_01.npy' gives train, images, 01, npy."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def split_of(path: str) -> str | None:
    """Return the set that a path belongs to, or None. The last part of the path that names a single set decides."""
    for part in reversed(PurePosixPath(path).parts):
        said = {split for word in words(part) for split, pattern in _SPLITS if pattern.fullmatch(word)}
        if len(said) == 1:
            return said.pop()
    return None


def by_split(items: Iterable[T], path: Callable[[T], str]) -> dict[str | None, list[T]]:
    """Group items by the set that their path belongs to, in natural order. Each set has a list; None: in no set."""
    found: dict[str | None, list[T]] = {TRAIN: [], TEST: [], VALIDATION: [], None: []}
    for item in sorted(items, key=lambda item: natural(path(item))):
        found[split_of(path(item))].append(item)
    return found


def role_of(path: str) -> str:
    """Return what an array holds according to its name: "labels", else "images"; empty if the name does not say it."""
    parts = PurePosixPath(path).parts[-2:]  # for `labels.npz/arr_0.npy`, both the archive and the member
    said = [word for part in parts for word in words(part)]
    roles = {"labels": _LABELS, "images": _IMAGES}
    return next((role for role, pattern in roles.items() if any(map(pattern.fullmatch, said))), "")


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key for natural order: 'img2' comes before 'img10'."""
    parts = filter(None, re.split(r"([0-9]{1,18})", name))
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]
