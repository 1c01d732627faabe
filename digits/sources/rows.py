"""Arrays that are read a block of rows at a time: what every form of a data set is opened as.

Whatever reads a source raises InputError if it is damaged, incomplete, of another form, or made to fill the memory.
"""

import itertools
import math
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from digits.data.arrays import BLOCK_BYTES
from dvcproof.runtime.program import InputError

#: The four arrays that `load` writes.
NAMES = ("train_images", "train_labels", "test_images", "test_labels")

#: A packed file may unpack to PACKED_TIMES its size, or to PACKED_BYTES if that is more. Pictures are packed to a third
#: or a tenth; only what is made to fill a disk or the memory comes near a hundredth.
PACKED_TIMES = 100
PACKED_BYTES = 2**28

#: Images of the largest set: its labels are read whole, and 64 million of them are still small.
MOST_IMAGES = 2**26

#: What reading a damaged or foreign file raises.
DAMAGE = (
    *(EOFError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(struct.error, tarfile.TarError, zipfile.BadZipFile, zlib.error),
)

#: The next step where the data set itself is at fault.
AGAIN = "Fetch or save the data set again."

Values = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """An array of a data set, whose rows can be read again and again."""

    name: str  # what messages call it
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]  # [n, ...]
    blocks: Callable[[], Iterator[Values]]  # reads the array, some whole rows at a time
    check: Callable[[], object] = lambda: None  # refuses a file that cannot hold the values, before it reads any
    notes: tuple[str, ...] = ()  # what is converted while it is read


class Pair(NamedTuple):
    """The images of a set and their labels, as they are in the source."""

    images: Rows
    labels: Rows


class Found(NamedTuple):
    """The sets that were found in a source."""

    pairs: dict[str, Pair]  # 'train', and 'test' if there is one
    notes: list[str]
    no_test: str = "there is no test set"


class Spool:
    """Rows on their way through a temporary file without a name, which the system removes in any case."""

    def __init__(self, files: ExitStack) -> None:
        self._file: IO[bytes] = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 # `files` closes it

    def write(self, values: Values) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(values).data)

    def blocks(self, dtype: DTypeLike, row: tuple[int, ...]) -> Iterator[Values]:
        """Read all rows of this type and shape, in blocks of at most BLOCK_BYTES, but at least one row."""
        size = math.prod(row) * np.dtype(dtype).itemsize
        step = max(1, BLOCK_BYTES // size) * size
        for place in itertools.count(0, step):
            self._file.seek(place)
            if not (block := self._file.read(step)):
                return
            yield np.frombuffer(block, dtype).reshape(-1, *row)


def held(name: str, labels: Values) -> Rows:
    """Return labels in memory as Rows: whole numbers in their smallest type."""
    if labels.dtype.kind in "iuf":
        with np.errstate(invalid="ignore"):
            fitting = (small for dtype in (np.uint8, np.int32) if ((small := labels.astype(dtype)) == labels).all())
            labels = next(fitting, labels)
    return Rows(name, labels.dtype, labels.shape, lambda: iter([labels]))


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
