"""Open any supported form of a data set as a training and a test set of images and labels.

The content of a file decides what the file is, not its name. Nothing is unpickled. Images are read in blocks, so a set
need not fit into memory.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digits.data.npy import require_same_length
from digits.data.splits import masked, spread
from digits.sources import arrays, images, labels, pictures, tables
from digits.sources.arrays import MOST_IMAGES, Found, Pair, Rows
from digits.sources.download import download, require_pinned
from digits.sources.recognize import EMPTY, NPZ, TAR, TEST, TRAIN, UNKNOWN, ZIP, Foreign
from digits.sources.tree import Tree, listed, open_tree
from dvcproof.runtime.bounds import require_regular
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import see_file

#: The training and the test set, and a line for everything that was converted, chosen or left out. Images are uint8
#: [n, height, width] or [n, height, width, 3], labels whole numbers or texts [n].
Source = tuple[Pair, Pair, list[str]]


@contextmanager
def open_source(source: str, test_size: int = 0) -> Iterator[Source]:
    """Open a data set inside this block: a file, an archive, a folder, or https://host/file#sha256=<64 hex digits>.

    If it has no test set, `test_size` training images become the test set. Raise InputError if the source is missing,
    damaged, incomplete or of an unknown form, or if `test_size` does not suit it.
    """
    with ExitStack() as files:
        path = download(source) if "://" in source else Path(source)
        see_file(path)
        if not path.exists():
            raise _absent(source)
        yield _convert(str(path), _find(open_tree(path), files), test_size)


def require_readable(source: str) -> None:
    """Raise InputError if a data set cannot be read: an address without SHA-256, no such file, or a pipe in it.

    DVC would wait for a pipe endlessly, and would delete the earlier arrays before it misses a file. A file that DVC
    keeps (`dvc add`) may be absent, since DVC can fetch it.
    """
    path = Path(source)
    if "://" in source:
        require_pinned(source)
    elif path.exists():
        for file in [path, *(path.rglob("*") if path.is_dir() else ())]:
            if file.exists():
                require_regular(file)
    elif not any(Path(f"{place}.dvc").exists() for place in (path, *path.parents)):
        raise _absent(source)


def _absent(source: str) -> InputError:
    hint = "Set `load.source` in params.yaml to a file, a folder, or https://...#sha256=... that exists."
    return InputError(f"data set '{source}'", "no such file or folder", hint=hint)


def _find(tree: Tree, files: ExitStack) -> Found:
    """Return the sets in a source. Look for arrays, then tables, then pictures: among the files, then in archives.

    A .npz file counts as a folder of arrays, not as an archive. Raise InputError if nothing is found.
    """
    for kinds in ((), (ZIP, TAR)):
        inside = tree.unpacked(files, *kinds).unpacked(files, NPZ)
        found = arrays.find(inside) or tables.find(inside, files) or pictures.find(inside, files)
        if found:
            return found
    foreign = [file for file in inside.looked_at if isinstance(file.kind, Foreign)]
    if known := [file for file in foreign if file.kind not in (EMPTY, UNKNOWN)] or foreign:
        raise max(known, key=lambda file: file.size).refused("a data set of images and labels")
    names = listed((file.path for file in inside.files), nothing="an empty folder or archive")
    hint = "Set `load.source` in params.yaml to the data set itself."
    raise InputError(tree.name, f"there is no data set in it, only {names}", hint=hint)


def _convert(name: str, found: Found, test_size: int) -> Source:
    """Check the sets found in the source `name`, convert them, and choose a test set if there is none."""
    pairs = {split: _checked(pair) for split, pair in found.pairs.items()}
    count = pairs[TRAIN].images.shape[0]
    if TEST in pairs and test_size:
        hint = "Set `load.test_size` to 0 in params.yaml."
        raise InputError("parameter 'load.test_size'", f"it is {test_size}, but {name} has a test set", hint=hint)
    if TEST not in pairs and not 0 < test_size < count:
        few = max(1, count // 6)  # 60,000 images give 10,000, the size of MNIST's test set
        hint = f"To test on {few} of the {count} images instead, set `load.test_size` to {few} in params.yaml."
        raise InputError(name, f"{found.no_test}, and `load.test_size` is {test_size}", hint=hint)
    converted = images.to_uint8([pair.images for pair in pairs.values()])
    read = [labels.read_labels(pair.labels) for pair in pairs.values()]
    notes = [*found.notes, *(f"{rows.name}: {note}" for rows in (*converted, *read) for note in rows.notes)]
    if TEST in pairs:
        return Pair(converted[0], read[0]), Pair(converted[1], read[1]), notes
    (values,) = read[0].blocks()
    chosen = spread(values, test_size, "load.test_size")
    train, test = (Pair(_some(converted[0], rows), _some(read[0], rows)) for rows in (~chosen, chosen))
    return train, test, [*notes, f"test set: {test_size} of the {count} images, spread evenly over each class"]


def _checked(pair: Pair) -> Pair:
    """Return a pair with its images in the shape of `fold`. Raise InputError if it cannot be images and labels."""
    folded = Pair(images.fold(pair.images), pair.labels)
    labels.require_labels_form(pair.labels)
    for rows in pair:
        if not 1 <= rows.shape[0] <= MOST_IMAGES:
            received, hint = str(rows.shape[0]), "Choose a data set within these limits."
            raise InputError(rows.name, expected=f"1 to {MOST_IMAGES} images", received=received, hint=hint)
    require_same_length(f"{pair.images.name} and {pair.labels.name}", pair.images.shape[0], pair.labels.shape[0])
    return folded


def _some(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    shape = (int(mask.sum()), *rows.shape[1:])
    return replace(rows, shape=shape, blocks=lambda: masked(rows.blocks(), mask))
