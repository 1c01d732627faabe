"""Read and write arrays in .npy files, which are checked when they are read."""

import math
import os
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dvcproof.runtime.bounds import open_file
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: Bytes held in memory at a time while an array is copied or converted. Blocks of some MiB are slower, since the system
#: maps and clears new memory for each block: docs/speed.md.
BLOCK_BYTES = 2**18

#: Alignment in bytes of an array that is read whole. With this alignment, TensorFlow can use it without a copy.
ALIGNMENT = 64

#: A shape in which None stands for any length.
Shape = tuple[int | None, ...]


def describe(dtype: DTypeLike, shape: Sequence[int | None]) -> str:
    """Return an array's type and shape as text: 'uint8 [n, 28, 28]'."""
    return f"{np.dtype(dtype)} [{', '.join('n' if length is None else str(length) for length in shape)}]"


def write_npy(path: Path, *, dtype: DTypeLike, shape: tuple[int, ...], blocks: Iterable[NDArray[np.generic]]) -> None:
    """Write an array of this type and shape block by block, so that it need not fit into memory."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=dtype).data)


def replace_values(path: Path, table: NDArray[np.uint8]) -> None:
    """Replace each value v of a .npy file of uint8 by `table[v]`, in place."""
    with path.open("r+b") as file:
        read_header(file)
        while values := file.read(BLOCK_BYTES):
            file.seek(-len(values), os.SEEK_CUR)
            file.write(table[np.frombuffer(values, np.uint8)].data)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read the header of a .npy file. Return the shape, whether the array is in Fortran order, and the type.

    Raise ValueError if the header is damaged, or not of format 1.0. NumPy writes this format for every array of
    numbers, and it limits the header to 64 KiB.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f".npy format {version[0]}.{version[1]} instead of 1.0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about odd numbers in a damaged header
            return np.lib.format.read_array_header_1_0(file)
    except (ArithmeticError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, tokenize.TokenError):
        raise ValueError("a .npy header that cannot be parsed") from None


class NpyFile:
    """A .npy file of a known type and shape, whose rows are read on demand."""

    def __init__(self, path: Path, *, dtype: DTypeLike, shape: Shape, is_input: bool = True) -> None:
        """Check the file's header and size, without reading values. `is_input` is False if this run has written it.

        Raise InputError if the file is missing, damaged, or has another type or shape.
        """
        self.path, self.dtype = path, np.dtype(dtype)
        expected = describe(dtype, shape)
        if is_input:
            see_file(path)
        try:
            with open_file(path) as file:
                self.shape, fortran_order, found = read_header(file)
                self._offset, stored = file.tell(), file.seek(0, os.SEEK_END)
        except FileNotFoundError:
            raise self._wrong(expected, "no such file") from None
        except ValueError as error:
            raise self._wrong(expected, f"a damaged or foreign file ({error})") from None
        wanted = tuple(want if want is not None else got for want, got in zip(shape, self.shape, strict=False))
        if found != self.dtype or self.shape != wanted or len(wanted) < len(shape) or fortran_order:
            raise self._wrong(expected, describe(found, self.shape) + (" in Fortran order" if fortran_order else ""))
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        size = self._offset + self.shape[0] * self._row_bytes  # len(self) would raise OverflowError on absurd lengths
        if stored != size:
            raise self._wrong(expected, f"{stored} bytes instead of {size}")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Return the number of bytes of all values."""
        return len(self) * self._row_bytes

    def rows(self, start: int, stop: int) -> NDArray[np.generic]:
        """Read rows `start` to `stop`. As all readers, raise InputError if the file has become shorter."""
        values = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._fill(values, start)
        return values

    def take(self, numbers: NDArray[np.integer]) -> NDArray[np.generic]:
        """Read the rows with these numbers, in this order."""
        values = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        places = [self._offset + number * self._row_bytes for number in numbers.tolist()]
        with open_file(self.path) as file:
            number = file.fileno()
            if hasattr(os, "posix_fadvise"):  # a disk that knows all rows reads them in little more time than one row
                for place in places:
                    os.posix_fadvise(number, place, self._row_bytes, os.POSIX_FADV_WILLNEED)
            read = sum(os.preadv(number, [row], place) for row, place in zip(values, places, strict=True))
        if read < values.nbytes:
            raise self._shorter(values.nbytes - read)
        return values

    def read(self) -> NDArray[np.generic]:
        """Read the whole array, aligned to ALIGNMENT.

        The file is not memory-mapped: SIGBUS would kill the process if a mapped file were cut short.
        """
        room = np.empty(self.size + ALIGNMENT, np.uint8)
        start = -room.ctypes.data % ALIGNMENT
        values = room[start : start + self.size].view(self.dtype).reshape(self.shape)
        self._fill(values, 0)
        return values

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.generic]]:
        """Yield rows `start` to `stop` in blocks of at most BLOCK_BYTES. A block has at least one row."""
        stop = len(self) if stop is None else stop
        step = max(1, BLOCK_BYTES // self._row_bytes)
        for first in range(start, stop, step):
            yield self.rows(first, min(first + step, stop))

    def _fill(self, values: NDArray[np.generic], row: int) -> None:
        with open_file(self.path) as file:
            file.seek(self._offset + row * self._row_bytes)
            left = memoryview(values.reshape(-1).view(np.uint8).data)
            while left and (count := file.readinto(left)):
                left = left[count:]
        if left:
            raise self._shorter(len(left))

    def _shorter(self, missing: int) -> InputError:
        return self._wrong(describe(self.dtype, self.shape), f"a file that ends {missing} bytes early")

    def _wrong(self, expected: str, received: str) -> InputError:
        hint = "Run `dvc repro` to write it again."
        return InputError(str(self.path), expected=expected, received=received, hint=hint)


def require_rows(name: str, count: int) -> None:
    """Raise InputError if a set is empty."""
    if not count:
        raise InputError(name, expected="at least one row", received="none", hint="Choose a data set with images.")


def require_same_length(name: str, images: int, labels: int) -> None:
    """Raise InputError if the numbers of images and labels differ."""
    if images != labels:
        received = f"{images} images and {labels} labels"
        hint = "Check that both come from the same data set."
        raise InputError(name, expected="as many labels as images", received=received, hint=hint)
