"""Data sets as arrays: .npz, .npy, and the IDX files in which MNIST was published, plain or packed with gzip."""

import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

import numpy as np

from digits.data.arrays import BLOCK_BYTES, describe, read_header
from digits.data.dataset import SHORTEST
from digits.sources import recognize
from digits.sources.convert import MOST_COLUMNS
from digits.sources.recognize import IDX, NAMED, NPY, TEST, TRAIN, VALIDATION, Foreign
from digits.sources.rows import AGAIN, Found, Pair, Rows, Values, listed, most_bytes, reading
from digits.sources.tree import File, Tree, without_copies
from dvcproof.runtime.program import InputError

#: Keras's names in mnist.npz.
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")

#: Names of the original files, and their magic numbers: two zero bytes, 8 for unsigned byte, the number of dimensions
#: (http://yann.lecun.com/exdb/mnist/).
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IDX_MAGIC = (0x00000803, 0x00000801, 0x00000803, 0x00000801)

#: The third byte of an IDX file: the type of its values.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

#: Bytes held when rows are gathered from a file in Fortran order: smaller parts need too many reads.
PLANE_BYTES = 2**22

_ONE_SET = "Put the files of one data set into a folder of their own, and set `load.source` to that folder."
_RENAME = f"Put images and labels together, named {', '.join(NPZ_NAMES)}, or like the files of MNIST."


class Stream(NamedTuple):
    """An array in a file: what its header says. The values follow the header."""

    file: File
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    head: int  # bytes of the header
    fortran: bool = False  # whether the first index changes fastest

    @property
    def size(self) -> int:
        """Return the bytes of the values, according to the header."""
        return math.prod(self.shape) * self.dtype.itemsize

    def require_size(self) -> None:
        """Compare the header with the size of the file, before any value is read."""
        if not self.file.packed and (missing := self.head + self.size - self.file.size):
            raise self._wrong_size(missing)
        if self.size > most_bytes(self.file.disk):
            sentence = f"its header claims {self.size} bytes, in a file of {self.file.disk}"
            raise InputError(self.file.name, sentence, hint="Unpack it, and check that its header is right.")

    def rows(self) -> Iterator[Values]:
        """Read the array in parts of whole rows: at most BLOCK_BYTES, but at least one row."""
        if self.fortran:
            yield from self._rows_of_fortran()
            return
        row = self.shape[1:]
        for block in self._blocks(math.prod(row) * self.dtype.itemsize):
            yield np.frombuffer(block, self.dtype).reshape(-1, *row)

    def _blocks(self, unit: int) -> Iterator[bytes]:
        """Read the bytes of the values, in blocks of a multiple of `unit` bytes."""
        left, step = self.size, max(1, BLOCK_BYTES // unit) * unit
        with reading(self.file.name, f"an array of {describe(self.dtype, self.shape)}"), self.file.open() as file:
            file.read(self.head)
            while left:
                block = file.read(min(step, left))
                left -= len(block)
                if not block or len(block) % unit:
                    raise self._wrong_size(left)
                yield block
            if file.read(1):
                raise self._wrong_size(-1)

    def _rows_of_fortran(self) -> Iterator[Values]:
        """Gather rows from planes [d, ..., c, b, n], through a temporary file in which every plane can be reached."""
        count, *others = self.shape
        planes, item = math.prod(others), self.dtype.itemsize
        with tempfile.TemporaryFile() as file:
            for block in self._blocks(item):
                file.write(block)
            step = max(1, PLANE_BYTES // (planes * item))
            for first in range(0, count, step):
                part = np.empty((planes, min(step, count - first)), self.dtype)
                for plane, values in enumerate(part):
                    file.seek((plane * count + first) * item)
                    values[:] = np.frombuffer(file.read(values.nbytes), self.dtype)
                yield part.reshape(*others[::-1], -1).T

    def _wrong_size(self, missing: int) -> InputError:
        how = f"{missing} bytes shorter" if missing > 0 else "longer"
        sentence = f"the file is {how} than its header says, which is {describe(self.dtype, self.shape)}"
        return InputError(self.file.name, sentence, hint=AGAIN)


class Array:
    """An array of a source, and what it may be by its shape."""

    def __init__(self, file: File) -> None:
        self.file, self.path, stream = file, file.path, _open(file)
        notes, shape = ("from Fortran order",) if stream.fortran else (), stream.shape
        self.rows = Rows(file.name, stream.dtype, shape, stream.rows, stream.require_size, notes)
        self.may_be_labels = len(shape) < 2 or (len(shape) == 2 and shape[1] <= MOST_COLUMNS)
        may_be_images = len(shape) > 2 or (len(shape) == 2 and shape[1] >= SHORTEST**2)
        self.is_images = may_be_images and not (self.may_be_labels and recognize.says_labels(self.path))


def find(tree: Tree) -> Found | None:
    """Find the arrays of a source, if it has any."""
    files = tree.of_kind(NPY, IDX)
    if not files:
        return None
    sets = recognize.by_split(map(Array, files), lambda array: array.path)
    notes = [f"{array.rows.name}: not used" for array in sets[VALIDATION]]
    if not sets[TRAIN] and not sets[TEST]:
        sets |= _without_names(tree, sets[None])
    pairs = {TRAIN: _pair(tree, TRAIN, sets[TRAIN])}
    named = [file for file in tree.looked_at if recognize.says_images(file.path) or recognize.says_labels(file.path)]
    if sets[TEST] or any(isinstance(file.kind, Foreign) and recognize.split_of(file.path) == TEST for file in named):
        pairs[TEST] = _pair(tree, TEST, sets[TEST])
    return Found(pairs, notes)


def _without_names(tree: Tree, arrays: Sequence[Array]) -> dict[str | None, list[Array]]:
    """Sort arrays whose names say nothing: one set, or two in order, such as `arr_0` to `arr_3`."""
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
    images = _one(tree, split, "images", arrays, lambda array: array.is_images)
    others = [array for array in arrays if array is not images]
    labels = _one(tree, split, "labels", others, lambda array: array.may_be_labels)
    return Pair(images.rows, labels.rows)


def _one(tree: Tree, split: str, what: str, arrays: Sequence[Array], fits: Callable[[Array], bool]) -> Array:
    """Return the one array that fits; of several, the one whose name says that it is the images, or the labels."""
    says = recognize.says_images if what == "images" else recognize.says_labels
    named = [array for array in arrays if says(array.path)]
    fitting = [array for array in arrays if fits(array)] or named
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
        if recognize.split_of(file.path) == split and says(file.path) and file.kind not in (NPY, IDX):
            raise file.refused(wanted)
    found = listed((file.path.removesuffix(".npy") for file in tree.files), nothing="nothing")
    raise InputError(tree.name, f"{wanted} are missing. There is only {found}", hint=_RENAME)


def _open(file: File) -> Stream:
    with reading(file.name, "an array"), file.open() as content:
        return _open_npy(file, content) if file.kind == NPY else _open_idx(file, content)


def _open_npy(file: File, content: IO[bytes]) -> Stream:
    shape, fortran, dtype = read_header(content)
    if dtype.hasobject:
        hint = "Only if you trust where it came from: load it, and save it as numbers, or texts as `y.astype(str)`."
        raise InputError(file.name, "the array holds pickled Python objects, which are never opened", hint=hint)
    return Stream(file, dtype, shape, content.tell(), fortran and len(shape) > 1)


def _open_idx(file: File, content: IO[bytes]) -> Stream:
    start = content.read(4)
    lengths = content.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise InputError(file.name, f"the IDX file ends within its header, after {4 + len(lengths)} bytes", hint=AGAIN)
    shape = struct.unpack(f">{start[3]}I", lengths)
    return Stream(file, np.dtype(IDX_TYPES[start[2]]), shape, 4 + len(lengths))
