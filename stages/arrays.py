"""Arrays on disk: .npy files that are checked when they are read and complete when they appear."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stages.console import InputError

#: Bytes held in memory at a time when arrays are copied or converted: small beside a data set.
BLOCK_BYTES = 4 * 2**20

#: A shape in which None stands for any length.
Shape = tuple[int | None, ...]


def describe(dtype: DTypeLike, shape: Sequence[int | None]) -> str:
    """An array's type and shape in words: 'uint8 [n, 28, 28]'."""
    return f"{np.dtype(dtype)} [{', '.join('n' if length is None else str(length) for length in shape)}]"


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Give a temporary path beside each of `paths`, and rename them all into place once the block has succeeded.

    After an error none of the paths has changed and nothing is left behind.
    """
    temporary = [path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}") for path in paths]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        for written, path in zip(temporary, paths, strict=True):
            written.replace(path)
    finally:
        for written in temporary:
            written.unlink(missing_ok=True)


def write_npy(path: Path, *, dtype: DTypeLike, shape: tuple[int, ...], blocks: Iterable[NDArray[np.generic]]) -> None:
    """Write an array that comes in blocks, without ever holding it whole.

    Args:
        path: the .npy file.
        dtype: the type of every block.
        shape: the shape of the whole array.
        blocks: consecutive parts of the array, in C order.
    """
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=dtype).data)


class NpyFile:
    """A .npy file of a known type and form, whose rows are read when they are asked for."""

    def __init__(self, path: Path, *, dtype: DTypeLike, shape: Shape) -> None:
        """Check the file's header and size; read no values.

        Raises:
            InputError: the file is missing, damaged, or holds another type or shape.
        """
        self.path = path
        expected = describe(dtype, shape)
        array = self._map(expected)
        matches = len(array.shape) == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if array.dtype != dtype or not matches or not array.flags.c_contiguous:
            order = "" if array.flags.c_contiguous else " in Fortran order"
            raise self._wrong(expected, describe(array.dtype, array.shape) + order)
        self.shape: tuple[int, ...] = array.shape
        self._row_bytes = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:])))

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, start: int, stop: int) -> NDArray[np.generic]:
        """A copy of rows `start` to `stop`. The file is mapped for the call only, so no page of it stays in memory."""
        return np.array(self._map("a readable .npy file")[start:stop])

    def read(self) -> NDArray[np.generic]:
        """The whole array, mapped, not copied."""
        return self._map("a readable .npy file")

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.generic]]:
        """Rows `start` to `stop` in blocks of at most BLOCK_BYTES (but at least one row)."""
        stop = len(self) if stop is None else stop
        step = max(1, BLOCK_BYTES // self._row_bytes)
        for first in range(start, stop, step):
            yield self.rows(first, min(first + step, stop))

    def _map(self, expected: str) -> NDArray[np.generic]:
        try:
            # NumPy cannot map an array of no bytes; such a file is read, which costs nothing.
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise self._wrong(expected, "no such file") from None
        except (ValueError, EOFError) as error:
            array = self._load_empty()
            if array is None:
                raise self._wrong(expected, f"a damaged or foreign file ({error})") from None
        if not isinstance(array, np.ndarray):
            raise self._wrong(expected, "a .npz archive")
        size, stored = getattr(array, "offset", 0) + array.nbytes, self.path.stat().st_size
        if array.size and size != stored:
            raise self._wrong(expected, f"{stored - size} bytes too many")
        return array

    def _load_empty(self) -> NDArray[np.generic] | None:
        try:
            array = np.load(self.path, allow_pickle=False)
        except (ValueError, EOFError):
            return None
        return array if isinstance(array, np.ndarray) and array.size == 0 else None

    def _wrong(self, expected: str, received: str) -> InputError:
        return InputError(
            str(self.path), expected=expected, received=received, hint="Run `dvc repro` to write it again."
        )


def require_same_length(name: str, images: int, labels: int) -> None:
    """Refuse a set whose images and labels disagree in number.

    Raises:
        InputError: the lengths differ.
    """
    if images != labels:
        raise InputError(
            name,
            expected="as many labels as images",
            received=f"{images} images and {labels} labels",
            hint="Check that both come from the same data set.",
        )


def require_labels(name: str, labels: NDArray[np.generic], classes: int) -> None:
    """Refuse labels outside 0 .. classes-1.

    Raises:
        InputError: a label is out of range; the first such one is named.
    """
    wrong = np.flatnonzero(labels >= np.uint8(classes)) if classes <= 255 else np.empty(0, np.intp)
    if len(wrong):
        raise InputError(
            name,
            expected=f"labels from 0 to {classes - 1}",
            received=f"{labels[wrong[0]]} at position {wrong[0]}",
            hint="Correct the labels, or set `classes` in params.yaml.",
        )
