"""Arrays of images and labels, which are read in blocks of rows. Every form of a data set is opened as such arrays.

This module also opens the forms that consist of arrays: .npz, .npy, and the IDX files of MNIST, plain or compressed
with gzip.
"""

import itertools
import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from digits.data.dataset import SHORTEST
from digits.data.npy import BLOCK_BYTES, describe, read_header
from digits.sources import recognize
from digits.sources.recognize import IDX, NAMED, NPY, TEST, TRAIN, VALIDATION, Foreign
from digits.sources.tree import AGAIN, File, Tree, listed, most_bytes, reading, without_copies
from dvcproof.runtime.program import InputError

#: The names of the arrays in Keras's mnist.npz.
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")

#: The names of MNIST's original files (http://yann.lecun.com/exdb/mnist/).
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

#: The types of values in IDX files, by the third byte of the file.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

#: The most columns of one-hot labels.
MOST_COLUMNS = 256

#: The most images of a set. Its labels are read into memory, and 64 million labels still fit.
MOST_IMAGES = 2**26

_ONE_SET = "Put the files of one data set into a folder of their own, and set `load.source` to that folder."
_RENAME = f"Put images and labels together, named {', '.join(NPZ_NAMES)}, or like the files of MNIST."

Values = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """An array of a data set, whose rows can be read again and again."""

    name: str  # the array's name in messages
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]  # [n, ...]
    blocks: Callable[[], Iterator[Values]]  # reads the array in blocks of whole rows
    notes: tuple[str, ...] = ()  # the conversions that are made while the array is read


class Pair(NamedTuple):
    """The images and the labels of a set."""

    images: Rows
    labels: Rows


class Found(NamedTuple):
    """The sets that were found in a source."""

    pairs: dict[str, Pair]  # 'train', and 'test' if there is one
    notes: list[str]
    no_test: str = "there is no test set"


class Spool:
    """Rows in a temporary file. The file has no name, so the system removes it even if the process is killed."""

    def __init__(self, files: ExitStack, dtype: DTypeLike) -> None:
        self._file: IO[bytes] = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 # `files` closes it
        self._dtype, self._count = np.dtype(dtype), 0

    def write(self, values: Values) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._count += len(values)

    def rows(self, name: str, row: tuple[int, ...], dtype: DTypeLike) -> Rows:
        """Return all rows as an array with this name. Each row has the shape `row` and is converted to `dtype`."""
        size = math.prod(row) * self._dtype.itemsize
        step = max(1, BLOCK_BYTES // max(1, size)) * size

        def blocks() -> Iterator[Values]:
            for place in itertools.count(0, step):
                self._file.seek(place)
                if not (block := self._file.read(step)):
                    return
                yield np.frombuffer(block, self._dtype).reshape(-1, *row).astype(dtype, copy=False)

        return Rows(name, np.dtype(dtype), (self._count, *row), blocks)


def smallest(values: Values) -> Values:
    """Return numbers as uint8 or int32 if no value changes, else as they are."""
    with np.errstate(invalid="ignore"):
        fitting = (small for dtype in (np.uint8, np.int32) if ((small := values.astype(dtype)) == values).all())
        return next(fitting, values)


def held(name: str, labels: Values) -> Rows:
    """Return labels in memory as Rows. Whole numbers are converted to the smaller of uint8 and int32 that fits."""
    labels = smallest(labels) if labels.dtype.kind in "iuf" else labels
    return Rows(name, labels.dtype, labels.shape, lambda: iter([labels]))


# Arrays in files


def open_array(file: File) -> Rows:
    """Open the array in a .npy or IDX file: read its header, but no values.

    Raise InputError if the header is damaged or does not match the size of the file, or if the values are pickled.
    """
    with reading(file.name, "an array"), file.open() as content:
        if file.kind == NPY:
            shape, fortran, dtype = read_header(content)
        else:
            start = content.read(4)
            lengths = content.read(4 * start[3])
            if len(lengths) < 4 * start[3]:
                sentence = f"the IDX file ends within its header, after {4 + len(lengths)} bytes"
                raise InputError(file.name, sentence, hint=AGAIN)
            shape, fortran, dtype = struct.unpack(f">{start[3]}I", lengths), False, np.dtype(IDX_TYPES[start[2]])
        head = content.tell()
    if dtype.hasobject:
        hint = "Only if you trust its origin: load it yourself, and save numbers, or texts with `y.astype(str)`."
        raise InputError(file.name, "the array holds pickled Python objects, which are never opened", hint=hint)
    require_size(file, dtype, shape, head)
    fortran = fortran and len(shape) > 1
    blocks = partial(_in_fortran_order if fortran else _in_order, file, dtype, shape, head)
    return Rows(file.name, dtype, shape, blocks, ("from Fortran order",) if fortran else ())


def require_size(file: File, dtype: np.dtype[np.generic], shape: tuple[int, ...], head: int) -> None:
    """Raise InputError if the header of an array does not match the size of its file. Read no values."""
    size = math.prod(shape) * dtype.itemsize
    if not file.packed and head + size != file.size:
        raise _wrong_size(file, dtype, shape, head + size - file.size)
    if size > most_bytes(file.disk):
        sentence = f"its header claims {size} bytes, in a file of {file.disk}"
        raise InputError(file.name, sentence, hint="Unpack it, and check that its header is right.")


def _wrong_size(file: File, dtype: DTypeLike, shape: Sequence[int], missing: int) -> InputError:
    how = f"{missing} bytes shorter" if missing > 0 else "longer"
    sentence = f"the file is {how} than its header says, which is {describe(dtype, shape)}"
    return InputError(file.name, sentence, hint=AGAIN)


def _in_order(file: File, dtype: np.dtype[np.generic], shape: tuple[int, ...], head: int) -> Iterator[Values]:
    """Yield an array in blocks of at most BLOCK_BYTES. A block has one or more whole rows."""
    unit = math.prod(shape[1:]) * dtype.itemsize
    left, step = math.prod(shape) * dtype.itemsize, max(1, BLOCK_BYTES // unit) * unit
    with reading(file.name, f"an array of {describe(dtype, shape)}"), file.open() as content:
        content.read(head)
        while left:
            block = content.read(min(step, left))
            if len(block) < min(step, left):
                raise _wrong_size(file, dtype, shape, left - len(block))
            left -= len(block)
            yield np.frombuffer(block, dtype).reshape(-1, *shape[1:])
        if content.read(1):
            raise _wrong_size(file, dtype, shape, -1)


def _in_fortran_order(file: File, dtype: np.dtype[np.generic], shape: tuple[int, ...], head: int) -> Iterator[Values]:
    """Yield the rows of an array [n, a, b] that is stored as [b, a, n]. Use a temporary file to gather them."""
    with tempfile.TemporaryFile() as room:
        for part in _in_order(file, dtype, (math.prod(shape),), head):
            room.write(part.data)
        room.flush()
        stored = np.memmap(room, dtype, "r", shape=shape, order="F")
        step = max(1, BLOCK_BYTES // stored[0].nbytes)
        for first in range(0, shape[0], step):
            yield np.ascontiguousarray(stored[first : first + step])


# A data set of arrays


def find(tree: Tree) -> Found | None:
    """Return the sets of arrays in a source, or None if it has no arrays."""
    files = tree.of_kind(NPY, IDX)
    if not files:
        return None
    sets = recognize.by_split(map(Array, files), lambda array: array.path)
    notes = [f"{array.rows.name}: not used" for array in sets[VALIDATION]]
    if not sets[TRAIN] and not sets[TEST]:
        sets |= _without_names(tree, sets[None])
    pairs = {TRAIN: _pair(tree, TRAIN, sets[TRAIN])}
    named = [file for file in tree.looked_at if recognize.role_of(file.path)]
    if sets[TEST] or any(isinstance(file.kind, Foreign) and recognize.split_of(file.path) == TEST for file in named):
        pairs[TEST] = _pair(tree, TEST, sets[TEST])
    return Found(pairs, notes)


class Array:
    """An array of a source. Its shape and name show whether it can be images or labels."""

    def __init__(self, file: File) -> None:
        self.file, self.path, self.rows = file, file.path, open_array(file)
        shape = self.rows.shape
        self.may_be_labels = len(shape) < 2 or (len(shape) == 2 and shape[1] <= MOST_COLUMNS)
        may_be_images = len(shape) > 2 or (len(shape) == 2 and shape[1] >= SHORTEST**2)
        self.is_images = may_be_images and not (self.may_be_labels and recognize.role_of(self.path) == "labels")


def _without_names(tree: Tree, arrays: Sequence[Array]) -> dict[str | None, list[Array]]:
    """Assign arrays to sets by their order alone: all to one set, or four to two sets, such as `arr_0` to `arr_3`."""
    ordered = sorted(arrays, key=lambda array: recognize.natural(array.path))
    images = [array for array in ordered if array.is_images]
    labels = [array for array in ordered if not array.is_images]
    if len(images) == len(labels) == 2:
        return {split: [images[k], labels[k]] for k, split in enumerate((TRAIN, TEST))}
    if len(images) > 1 or len(labels) > 1:
        names = listed((array.path.removesuffix(".npy") for array in arrays), nothing="no array")
        raise InputError(tree.name, f"their names do not tell what these arrays are: {names}", hint=_RENAME)
    return {TRAIN: [*arrays]}


def _pair(tree: Tree, split: str, arrays: Sequence[Array]) -> Pair:
    images = _one(tree, split, "images", arrays)
    labels = _one(tree, split, "labels", [array for array in arrays if array is not images])
    return Pair(images.rows, labels.rows)


def _one(tree: Tree, split: str, what: str, arrays: Sequence[Array]) -> Array:
    """Return the only array that fits as the images or the labels of a set, also by its name, or raise InputError."""
    named = [array for array in arrays if recognize.role_of(array.path) == what]
    fitting = [one for one in arrays if (one.is_images if what == "images" else one.may_be_labels)] or named
    if len(fitting) > 1:
        fitting = [array for array in fitting if array in named] or fitting
        kept = without_copies([array.file for array in fitting])
        fitting = [array for array in fitting if array.file in kept]
    if len(fitting) == 1:
        return fitting[0]
    wanted = f"the {what} of the {NAMED[split]} set"
    if fitting:
        names = listed((array.path for array in fitting), nothing="")
        raise InputError(tree.name, f"several arrays could be {wanted}: {names}", hint=_ONE_SET)
    for file in tree.looked_at:
        named_so = recognize.split_of(file.path) == split and recognize.role_of(file.path) == what
        if named_so and file.kind not in (NPY, IDX):
            raise file.refused(wanted)
    found = listed((file.path.removesuffix(".npy") for file in tree.files), nothing="nothing")
    raise InputError(tree.name, f"{wanted} are missing. There is only {found}", hint=_RENAME)
