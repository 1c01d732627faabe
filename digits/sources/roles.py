"""Tell from its path what a file or an array is for: people call the same thing by many names."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TypeVar

TRAIN, TEST, VALIDATION = "train", "test", "validation"
NAMED = {TRAIN: "training", TEST: "test", VALIDATION: "validation"}

T = TypeVar("T")

#: Words of names, and what they mean. The last word of `x_train`, `trainX` or `t10k-images` may be joined to another.
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

#: Names of the column of labels in a table, and of a column that numbers the rows.
LABEL_COLUMN = re.compile(r"labels?|class(es)?|targets?|y|digits?|category", re.IGNORECASE)
NUMBER_COLUMN = re.compile(r"|id|idx|index|image_?id|unnamed: 0|__index_level_0__", re.IGNORECASE)


def words(name: str) -> list[str]:
    """Split a name into words in small letters: 'trainImages_01.npy' is train, images, 01, npy."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def split_of(path: str) -> str | None:
    """Return the set that a path belongs to, from the last of its parts that names one; None if no part does."""
    for part in reversed(PurePosixPath(path).parts):
        said = {split for word in words(part) for split, pattern in _SPLITS if pattern.fullmatch(word)}
        if len(said) == 1:
            return said.pop()
    return None


def by_split(items: Iterable[T], path: Callable[[T], str]) -> dict[str | None, list[T]]:
    """Group items by the set that their path belongs to; every set has a list, and so has None."""
    found: dict[str | None, list[T]] = {TRAIN: [], TEST: [], VALIDATION: [], None: []}
    for item in items:
        found[split_of(path(item))].append(item)
    return found


def says_images(path: str) -> bool:
    """Return whether the name of an array says that it holds images, and not that it holds labels."""
    return _says(path, _IMAGES) and not says_labels(path)


def says_labels(path: str) -> bool:
    """Return whether the name of an array says that it holds labels."""
    return _says(path, _LABELS)


def _says(path: str, pattern: re.Pattern[str]) -> bool:
    parts = PurePosixPath(path).parts[-2:]  # both of `labels.npz/arr_0.npy`
    return any(pattern.fullmatch(word) for part in parts for word in words(part))


def plain(path: str) -> str:
    """Return a name without what differs between copies of a file: folder, ending, ` (1)`, how words are joined."""
    name = re.sub(r"\.(gz|npy|npz|csv|zip)$", "", PurePosixPath(path).name)
    return "-".join(words(re.sub(r"\s*(\(\d+\)|- Copy)", "", name)))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key by which 'img2' comes before 'img10'."""
    parts = filter(None, re.split(r"([0-9]{1,18})", name))
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]
