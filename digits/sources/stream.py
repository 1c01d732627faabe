"""An array of a data set as a stream: its type and shape are known before its values are read."""

import io
import math
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import BLOCK_BYTES, describe
from dvcproof.runtime.program import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: The four arrays that `load` writes.
NAMES = ("train_images", "train_labels", "test_images", "test_labels")

#: Values of a packed file may take so many bytes for each of the file's, or PACKED_BYTES if that is more. Pictures are
#: packed to a third or a tenth; only what is made to fill a disk or the memory comes near a hundredth.
PACKED_TIMES = 100
PACKED_BYTES = 2**28

#: Bytes held when rows are put together from planes: in smaller parts, that takes too many readings.
PLANE_BYTES = 2**22

#: Images of the largest set: its labels are read whole, and 64 million of them are small yet.
MOST_IMAGES = 2**26

#: What reading a damaged or foreign file raises.
DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)

Values = NDArray[np.generic]
Open = Callable[[], IO[bytes]]


class Rows(Protocol):
    """An array whose rows can be read, again and again: what every form of a data set is opened as."""

    @property
    def name(self) -> str:
        """The source's own name for it, for messages."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of its values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, whose first length counts the rows."""

    def require_size(self) -> None:
        """Refuse, before any value is read, what cannot hold its values."""

    def rows(self) -> Iterator[Values]:
        """Consecutive parts of it, each of some whole rows."""


class Stream(NamedTuple):
    """An array in a file: what its head says, and the values behind that."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    open: Open
    head: int  # bytes before the values
    stored: int | None  # bytes of values that are there; None: packed, so not known
    disk: int  # bytes of the file, packed or not, that holds the values
    fortran: bool = False  # whether the first index changes fastest

    @property
    def size(self) -> int:
        """Bytes of the values, as the head says."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_size(self) -> None:
        """Compare what the head says with the file, before any value is read.

        Raises:
            InputError: there are fewer or more values than the head says, or more than such a file can hold.
        """
        if self.stored is not None and self.stored < self.size:
            raise self._damaged(f"a file that ends {self.size - self.stored} bytes early")
        if self.stored is not None and self.stored > self.size:
            raise self._damaged("a file with more bytes than its header says")
        most = most_bytes(self.disk)
        if self.size > most:
            raise wrong(self.name, f"at most {most} bytes in a file of {self.disk}", f"a header that says {self.size}")

    def rows(self) -> Iterator[Values]:
        """The array in parts of some whole rows: at most BLOCK_BYTES, but at least one row.

        Raises:
            InputError: there are fewer or more values than the head says, or the archive is damaged.
        """
        if self.fortran and len(self.shape) > 1:
            yield from self._rows_of_fortran()
            return
        row = self.shape[1:]
        for block in self._blocks(math.prod(row) * self.dtype.itemsize):
            yield np.frombuffer(block, self.dtype).reshape(-1, *row)

    def _blocks(self, unit: int) -> Iterator[bytes]:
        """All bytes of the values, in blocks of a multiple of `unit` bytes."""
        left, step = self.size, max(1, BLOCK_BYTES // unit) * unit
        with refusing(self.name, describe(self.dtype, self.shape), "a damaged file"), self.open() as file:
            file.read(self.head)
            while left:
                block = read_fully(file, min(step, left))
                if len(block) < min(step, left):
                    raise self._damaged(f"a file that ends {left - len(block)} bytes early")
                left -= len(block)
                yield block
            if file.read(1):
                raise self._damaged("a file with more bytes than its header says")

    def _rows_of_fortran(self) -> Iterator[Values]:
        """Rows from planes [d, ..., c, b, n]: through a file without a name, in which every plane can be reached."""
        count, *others = self.shape
        planes, item = math.prod(others), self.dtype.itemsize
        with tempfile.TemporaryFile() as file:
            for block in self._blocks(item):
                file.write(block)
            step = max(1, PLANE_BYTES // (planes * item))
            for first in range(0, count, step):
                rows = min(step, count - first)
                part = np.empty((planes, rows), self.dtype)
                for plane in range(planes):
                    file.seek((plane * count + first) * item)
                    part[plane] = np.frombuffer(file.read(rows * item), self.dtype)
                yield part.reshape(*others[::-1], rows).T

    def _damaged(self, received: str) -> InputError:
        return wrong(self.name, describe(self.dtype, self.shape), received)


class Held(NamedTuple):
    """An array in memory: labels, which are small."""

    name: str
    values: Values

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.values.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def require_size(self) -> None:
        """Nothing to refuse: it is all here."""

    def rows(self) -> Iterator[Values]:
        """All at once."""
        yield self.values


class Spool:
    """Rows on their way through a file without a name, which the system removes whatever happens to this process."""

    def __init__(self, files: ExitStack) -> None:
        self._file: IO[bytes] = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 # `files` closes it

    def write(self, values: Values) -> None:
        self._file.write(np.ascontiguousarray(values).data)

    def stream(self, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Stream:
        """What was written, as an array of this type and shape."""
        self._file.flush()
        size = math.prod(shape) * dtype.itemsize
        return Stream(name, dtype, shape, self._open, 0, size, size)

    def _open(self) -> IO[bytes]:
        return slice_of(self._file, 0, os.fstat(self._file.fileno()).st_size)


class _Slice(io.RawIOBase):
    """A part of an open file, with a place of its own."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size, self._place = descriptor, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._place = max(0, {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence] + offset)
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        target = target[: max(0, self._size - self._place)]
        count = os.preadv(self._descriptor, [target], self._start + self._place) if target else 0
        self._place += count
        return count


def slice_of(file: IO[bytes], start: int, size: int) -> IO[bytes]:
    """A reader of a part of an open file. What is open stays so when the reader is closed."""
    return io.BufferedReader(_Slice(file.fileno(), start, size))


def read_fully(file: IO[bytes], count: int) -> bytes:
    """So many bytes, or all that are left: what is packed comes in smaller parts."""
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def most_bytes(disk: int) -> int:
    """Bytes that a packed file of so many bytes may give."""
    return max(PACKED_BYTES, PACKED_TIMES * disk)


def reason(error: Exception) -> str:
    """What is wrong with a damaged file, in words."""
    return str(error) or type(error).__name__


@contextmanager
def refusing(what: str, expected: str, damaged: str) -> Iterator[None]:
    """Refuse a file that turns out to be damaged while it is read. An error of the system about a file goes on.

    Raises:
        InputError: `what` is not as `expected`, but `damaged`, and why.
    """
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.filename:  # not of what is in the file
            raise
        raise wrong(what, expected, f"{damaged} ({reason(error)})") from None


def listed(names: Iterable[str], *, nothing: str) -> str:
    """Names in a line, the first eight of many."""
    names = sorted(names)
    return (", ".join(names[:8]) or nothing) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def wrong(what: str, expected: str, received: str, *, hint: str = "Fetch or save the data set again.") -> InputError:
    return InputError(what, expected=expected, received=received, hint=hint)
