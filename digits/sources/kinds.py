"""What a file is, by its first bytes: its name may say anything."""

import re
from typing import NamedTuple

#: Bytes that are enough to know a file by.
HEAD_BYTES = 4096

#: The kinds that a data set can be made of.
GZIP, ZIP, NPZ, TAR, NPY, IDX, PARQUET, TABLE, PICTURE = (
    "gzip",
    "zip",
    "npz",
    "tar",
    "npy",
    "IDX",
    "Parquet",
    "table",
    "picture",
)
CONTAINERS = (ZIP, NPZ, TAR)

#: Fields in the first line of a table of images, at least: 8 x 8 pixels.
LEAST_FIELDS = 64


class Foreign(NamedTuple):
    """A kind of file that no data set is read from."""

    words: str
    hint: str


_FETCH = "Open the address in a browser, and download the file itself from there."
_TRUSTED = (
    "In a program that you trust it to, load it and save the arrays: `np.savez('data.npz', x_train=..., y_train=..., "
    "x_test=..., y_test=...)`; labels that are texts as `y.astype(str)`."
)
_ARRAYS = (
    "Save the arrays with NumPy: `np.savez('data.npz', x_train=..., y_train=..., x_test=..., y_test=...)`, "
    "and set `load.source` to data.npz."
)
_UNPACK = "Unpack it, and set `load.source` to the folder."

EMPTY = Foreign("an empty file", "Fetch or copy it again.")
UNKNOWN = Foreign("a file of another kind", "Fetch it again, or save the data set in one of these forms: docs/data.md.")
PICKLE = Foreign("a pickle, which is a program and is never opened", _TRUSTED)

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
    (rb"\s*<(!doctype html|html|head|body)", Foreign("a web page", _FETCH)),
    (rb"\s*<\?xml", Foreign("an XML document, perhaps the server's refusal", _FETCH)),
    (
        rb"version https://git-lfs",
        Foreign("a Git LFS pointer", "Run `git lfs pull` in the repository that it came from."),
    ),
    (rb"outs:\s", Foreign("a file in which DVC names another", "Run `dvc pull`, and name the file itself.")),
    (rb"\x80[\x02-\x05]|\(lp0\n|\(dp0\n", PICKLE),
    (rb"\x89HDF\r\n", Foreign("an HDF5 file", _ARRAYS)),
    (rb"MATLAB 5\.0", Foreign("a MATLAB file", f"Read it with `scipy.io.loadmat`. {_ARRAYS}")),
    (rb"ARROW1|FEA1", Foreign("an Arrow file", "Save it as Parquet.")),
    (rb"\xfd7zXZ|BZh[1-9]|\x28\xb5\x2f\xfd", Foreign("a file packed with xz, bzip2 or zstd", _UNPACK)),
    (rb"7z\xbc\xaf|Rar!", Foreign("a 7z or RAR archive", _UNPACK)),
    (
        rb"\s*(%[^\n]*\n\s*)*@relation",
        Foreign("an ARFF file", "Save it as CSV, with a header line, and the labels in a column called `label`."),
    ),
    (rb"SQLite format 3", Foreign("a SQLite database", _ARRAYS)),
    (rb"\xff\xfe|\xfe\xff", Foreign("text in UTF-16", "Save it again in UTF-8.")),
    (rb"\s*[\[{]", Foreign("JSON", _ARRAYS)),
)


def kind_of(head: bytes) -> str | Foreign:
    """What begins with these bytes, HEAD_BYTES of them or the whole file."""
    if not head:
        return EMPTY
    for pattern, kind in _KNOWN:
        if re.match(pattern, head, re.DOTALL):
            return kind
    for pattern, foreign in _FOREIGN:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return foreign
    return TABLE if _is_table(head) else UNKNOWN


def _is_table(head: bytes) -> bool:
    """Whether the first line is text with many fields."""
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    return b"\0" not in line and max(map(line.count, (b",", b";", b"\t"))) >= LEAST_FIELDS - 1
