"""Data sets as arrays: .npz, .npy, and the IDX files in which MNIST was published, plain or packed with gzip."""

import struct
from collections.abc import Callable, Sequence
from typing import IO

import numpy as np

from digits.data.arrays import read_header
from digits.data.dataset import SHORTEST
from digits.sources import roles
from digits.sources.kinds import IDX, NPY, Foreign
from digits.sources.parts import Found, Pair
from digits.sources.roles import NAMED, TEST, TRAIN, VALIDATION
from digits.sources.stream import Stream, listed, read_fully, refusing, wrong
from digits.sources.targets import MOST_COLUMNS
from digits.sources.tree import File, Tree, without_copies

#: Keras's names in mnist.npz.
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")

#: Names of the original files, and their magic numbers: two zero bytes, 8 for unsigned byte, the number of dimensions
#: (http://yann.lecun.com/exdb/mnist/).
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IDX_MAGIC = (0x00000803, 0x00000801, 0x00000803, 0x00000801)

#: The third byte of an IDX file: the type of its values.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_ONE_SET = "Put the files of one data set into a folder of their own, and set `load.source` to that folder."


class Array:
    """An array of a source: its stream, and the file that it is in."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.path = file.path
        self.stream = _open(file)

    @property
    def may_be_images(self) -> bool:
        """Whether its shape is that of images, a row of pixels each among them."""
        shape = self.stream.shape
        return len(shape) > 2 or (len(shape) == 2 and shape[1] >= SHORTEST**2)

    @property
    def may_be_labels(self) -> bool:
        """Whether its shape is that of labels, one-hot among them."""
        shape = self.stream.shape
        return len(shape) < 2 or (len(shape) == 2 and shape[1] <= MOST_COLUMNS)


def find(tree: Tree) -> Found | None:
    """The arrays of a source, if it has any.

    Raises:
        InputError: an array is damaged, or missing, or it is not clear which of several to take.
    """
    files = tree.of_kind(NPY, IDX)
    if not files:
        return None
    every = [Array(file) for file in files]
    arrays = [array for array in every if roles.split_of(array.path) != VALIDATION]
    left_out = [f"{array.stream.name}: not used" for array in every if array not in arrays]
    by_split = {
        split: [array for array in arrays if roles.split_of(array.path) == split] for split in (TRAIN, TEST, None)
    }
    if not by_split[TRAIN] and not by_split[TEST]:
        by_split = _without_names(tree, by_split[None])
    pairs = {TRAIN: _pair(tree, TRAIN, by_split[TRAIN])}
    if by_split[TEST] or _misread(tree, TEST):
        pairs[TEST] = _pair(tree, TEST, by_split[TEST])
    turned = [
        f"{rows.name}: from Fortran order"
        for pair in pairs.values()
        for rows in pair
        if isinstance(rows, Stream) and rows.fortran and len(rows.shape) > 1
    ]
    return Found(pairs, [*left_out, *turned])


def _without_names(tree: Tree, arrays: Sequence[Array]) -> dict[str | None, list[Array]]:
    """Arrays that no name sorts: those of one set, or of two in order, `arr_0` to `arr_3`."""
    ordered = sorted(arrays, key=lambda array: roles.natural(array.path))
    images = [array for array in ordered if _is_images(array)]
    labels = [array for array in ordered if not _is_images(array)]
    if len(images) == len(labels) == 2:
        return {split: [images[k], labels[k]] for k, split in enumerate((TRAIN, TEST))}
    if len(images) > 1 or len(labels) > 1:
        names = listed((array.path.removesuffix(".npy") for array in arrays), nothing="no array")
        raise wrong(tree.name, "the arrays " + ", ".join(NPZ_NAMES), names, hint=_rename())
    return {TRAIN: [*arrays], TEST: []}


def _is_images(array: Array) -> bool:
    if array.may_be_images and array.may_be_labels:
        return not roles.says_labels(array.path)
    return array.may_be_images


def _pair(tree: Tree, split: str, arrays: Sequence[Array]) -> Pair:
    """The images and the labels among the arrays of a set."""
    images = _one(tree, split, "images", arrays, _is_images)
    labels = _one(tree, split, "labels", [array for array in arrays if array is not images], lambda a: a.may_be_labels)
    return Pair(images.stream, labels.stream)


def _one(tree: Tree, split: str, what: str, arrays: Sequence[Array], fits: Callable[[Array], bool]) -> Array:
    """The one array that fits; of several, the one that says so by its name."""
    says = roles.says_images if what == "images" else roles.says_labels
    fitting = [array for array in arrays if fits(array)] or [array for array in arrays if says(array.path)]
    if len(fitting) > 1:
        fitting = [array for array in fitting if says(array.path)] or fitting
    if len(fitting) > 1:
        kept = without_copies([array.file for array in fitting])
        fitting = [array for array in fitting if array.file in kept]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = listed((array.path for array in fitting), nothing="")
        raise wrong(tree.name, f"one array of {what} for the {NAMED[split]} set", names, hint=_ONE_SET)
    for file in tree.looked_at:
        if roles.split_of(file.path) == split and says(file.path) and file.kind not in (NPY, IDX):
            raise file.refused(f"the {what} of the {NAMED[split]} set")
    found = listed((file.path.removesuffix(".npy") for file in tree.files), nothing="no file")
    raise wrong(tree.name, f"the {what} of the {NAMED[split]} set", found, hint=_rename())


def _misread(tree: Tree, split: str) -> bool:
    """Whether there are files of a set that are no arrays."""
    return any(
        isinstance(file.kind, Foreign) and roles.split_of(file.path) == split
        for file in tree.looked_at
        if roles.says_images(file.path) or roles.says_labels(file.path)
    )


def _rename() -> str:
    return f"Put images and labels together, and name them {', '.join(NPZ_NAMES)}, or the files as those of MNIST are."


def _open(file: File) -> Stream:
    with refusing(file.name, "an array", "a damaged or foreign file"), file.open() as content:
        return _open_npy(file, content) if file.kind == NPY else _open_idx(file, content)


def _open_npy(file: File, content: IO[bytes]) -> Stream:
    try:
        shape, fortran, dtype = read_header(content)
    except ValueError as error:
        raise wrong(file.name, "a .npy file", f"a damaged or foreign one ({error})") from None
    if dtype.hasobject:
        raise wrong(
            file.name,
            "numbers or texts",
            "pickled Python objects, which are never opened",
            hint="In a program that you trust it to, save it again as numbers, or texts as `y.astype(str)`.",
        )
    head = content.tell()
    stored = None if file.stored is None else file.stored - head
    return Stream(file.name, dtype, shape, file.open, head, stored, file.disk, fortran)


def _open_idx(file: File, content: IO[bytes]) -> Stream:
    start = read_fully(content, 4)
    dimensions = start[3]
    lengths = read_fully(content, 4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise wrong(file.name, f"an IDX file with {dimensions} lengths", f"a file of {4 + len(lengths)} bytes")
    head = 4 + len(lengths)
    stored = None if file.stored is None else file.stored - head
    dtype = np.dtype(IDX_TYPES[start[2]])
    return Stream(file.name, dtype, struct.unpack(f">{dimensions}I", lengths), file.open, head, stored, file.disk)
