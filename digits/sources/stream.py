"""An array of a data set as a stream: its type and shape are known before its values are read."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.common.cli import InputError
from digits.data.arrays import BLOCK_BYTES, describe

#: The four arrays of a data set.
NAMES = ("train_images", "train_labels", "test_images", "test_labels")

#: Values of a packed file may take so many bytes for each of the file's, or PACKED_BYTES if that is more. Pictures are
#: packed to a third or a tenth; only what is made to fill a disk or the memory comes near a hundredth.
PACKED_TIMES = 100
PACKED_BYTES = 2**28

#: What reading a damaged or foreign file raises.
DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Stream(NamedTuple):
    """One array of a source: what its header says, and the values still to be read."""

    name: str  # the source's own name for it, for messages
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    file: IO[bytes]
    stored: int | None  # bytes of values that are there; None: packed, so not known
    disk: int  # bytes of the file, packed or not, that holds the values

    @property
    def size(self) -> int:
        """Bytes of the values, as the header says."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_size(self) -> None:
        """Compare what the header says with the file, before any value is read.

        Raises:
            InputError: there are fewer or more values than the header says, or more than such a file can hold.
        """
        if self.stored is not None and self.stored < self.size:
            raise self._damaged(f"a file that ends {self.size - self.stored} bytes early")
        if self.stored is not None and self.stored > self.size:
            raise self._damaged("a file with more bytes than its header says")
        most = max(PACKED_BYTES, PACKED_TIMES * self.disk)
        if self.size > most:
            raise wrong(self.name, f"at most {most} bytes in a file of {self.disk}", f"a header that says {self.size}")

    def blocks(self) -> Iterator[NDArray[np.generic]]:
        """The values in C order, flat, in blocks of at most BLOCK_BYTES.

        Raises:
            InputError: there are fewer or more values than the header says, or the archive is damaged.
        """
        left = self.size
        step = BLOCK_BYTES - BLOCK_BYTES % self.dtype.itemsize
        try:
            while left:
                block = self.file.read(min(step, left))
                if not block:
                    raise self._damaged(f"a file that ends {left} bytes early")
                left -= len(block)
                yield np.frombuffer(block, self.dtype)
            if self.file.read(1):
                raise self._damaged("a file with more bytes than its header says")
        except DAMAGE as error:
            raise self._damaged(f"a damaged file ({reason(error)})") from None

    def _damaged(self, received: str) -> InputError:
        return wrong(self.name, describe(self.dtype, self.shape), received)


def reason(error: Exception) -> str:
    """What is wrong with a damaged file, in words."""
    return str(error) or type(error).__name__


def listed(names: Iterable[str], *, nothing: str) -> str:
    names = sorted(names)
    return (", ".join(names[:8]) or nothing) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def wrong(what: str, expected: str, received: str, *, hint: str = "Fetch or save the data set again.") -> InputError:
    return InputError(what, expected=expected, received=received, hint=hint)
