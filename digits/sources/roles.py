"""What a file or an array of a data set is for, by its path: people call the same thing by many names."""

import re
from pathlib import PurePosixPath

TRAIN, TEST, VALIDATION = "train", "test", "validation"
NAMED = {TRAIN: "training", TEST: "test", VALIDATION: "validation"}

#: Words of names, and what they say. The last word of `x_train`, `trainX` or `t10k-images` may be joined to another.
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


#: Names of the column of labels in a table.
LABEL_COLUMN = re.compile(r"labels?|class(es)?|targets?|y|digits?|category", re.IGNORECASE)


def words(name: str) -> list[str]:
    """The words of a name, in small letters: 'trainImages_01.npy' are train, images, 01, npy."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def split_of(path: str) -> str | None:
    """Whether a path is of the training, test or validation set: the last of its parts that says one of these."""
    for part in reversed(PurePosixPath(path).parts):
        said = {split for word in words(part) for split, pattern in _SPLITS if pattern.fullmatch(word)}
        if len(said) == 1:
            return said.pop()
    return None


def says_images(path: str) -> bool:
    """Whether the name of an array says that it holds images, and not that it holds labels."""
    return _says(path, _IMAGES) and not says_labels(path)


def says_labels(path: str) -> bool:
    """Whether the name of an array says that it holds labels."""
    return _says(path, _LABELS)


def _says(path: str, pattern: re.Pattern[str]) -> bool:
    parts = PurePosixPath(path).parts[-2:]  # of `labels.npz/arr_0.npy` both
    return any(pattern.fullmatch(word) for part in parts for word in words(part))


def plain(path: str) -> str:
    """A name without what tells copies of one file apart: the folder, the ending, ` (1)`, and how words are joined."""
    name = re.sub(r"\.(gz|npy|npz|csv|zip)$", "", PurePosixPath(path).name)
    return "-".join(words(re.sub(r"\s*(\(\d+\)|- Copy)", "", name)))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A key for sorting, by which 'img2' comes before 'img10'."""
    parts = filter(None, re.split(r"([0-9]{1,18})", name))
    return [(False, int(part), "") if part[0] in "0123456789" else (True, 0, part) for part in parts]
