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

    def blocks(self) -> Iterator[NDArray[np.generic]]:
        """The values in C order, flat, in blocks of at most BLOCK_BYTES.

        Raises:
            InputError: there are fewer or more values than the header says, or the archive is damaged.
        """
        left = math.prod(self.shape) * self.dtype.itemsize
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
            raise self._damaged(f"a damaged file ({error})") from None

    def _damaged(self, received: str) -> InputError:
        return wrong(self.name, describe(self.dtype, self.shape), received)


def listed(names: Iterable[str], *, nothing: str) -> str:
    names = sorted(names)
    return (", ".join(names[:8]) or nothing) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def wrong(what: str, expected: str, received: str, *, hint: str = "Fetch or save the data set again.") -> InputError:
    return InputError(what, expected=expected, received=received, hint=hint)
