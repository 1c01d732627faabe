"""Data sets of pictures, such as PNG, in one folder per class; and a decoder with limits on size and memory."""

import io
import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from os.path import commonprefix
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from digits.data.dataset import LONGEST, SHORTEST
from digits.sources.arrays import Found, Pair, Rows, Spool, held
from digits.sources.recognize import NAMED, PICTURE, TEST, TRAIN, VALIDATION, natural, split_of
from digits.sources.tree import File, Tree
from dvcproof.runtime.program import InputError, on_terminal

#: The formats that Pillow may read. Its other formats are rare, and PostScript would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

#: The most bytes of a picture file. For comparison, 128 x 128 pixels in colour have 48 KiB uncompressed.
MOST_BYTES = 2**20

_GREY, _COLOUR, _DEEP = ("1", "L"), ("RGB", "P", "PA", "LA", "RGBA"), ("I;16", "I;16B", "I;16L", "I;16N", "I")

_FOLDERS = "Put the pictures into train/CLASS/ and test/CLASS/, or into CLASS/ with `load.test_size` in params.yaml."
_SAVE = "Save it again as PNG of 8 bits, grey or in colour, without transparency, or move it elsewhere."

#: The names of the folders between the folder of the set and a file, and the file.
_Placed = tuple[tuple[str, ...], File]

T = TypeVar("T")


def find(tree: Tree, files: ExitStack) -> Found | None:
    """Return the sets of pictures in a source, or None if it has no pictures. Ignore folders without pictures."""
    if not tree.of_kind(PICTURE):
        return None
    inside: dict[tuple[str, ...], list[File]] = defaultdict(list)
    for file in tree.files:
        inside[PurePosixPath(file.path).parts[:-1]].append(file)
    sets: dict[str | None, list[_Placed]] = defaultdict(list)
    for folders, found in inside.items():
        if any(file.kind == PICTURE for file in found):
            place = next((k for k, folder in enumerate(folders) if split_of(folder)), -1)
            sets[split_of(folders[place]) if place >= 0 else None] += [(folders[place + 1 :], file) for file in found]
    left_out = sets.pop(VALIDATION, [])
    notes = [f"{tree.name}: {len(left_out)} pictures of a validation set not used"] if left_out else []
    if TRAIN not in sets and None not in sets:
        raise InputError(tree.name, "there is a folder `test` without a folder `train` beside it", hint=_FOLDERS)
    sets.setdefault(TRAIN, sets.pop(None, []))
    depth = len(commonprefix([folders for folders, _ in sets[TRAIN]]))  # noqa: RUF071 # of tuples, it compares items
    if depth and all(len(folders) == depth for folders, _ in sets[TRAIN]):
        one = f"all pictures are in one folder, {'/'.join(sets[TRAIN][0][0])}, and so of one class"
        raise InputError(tree.name, one, hint=_FOLDERS)
    pairs = {split: _pair(tree, split, sets[split], depth, files) for split in (TRAIN, TEST) if split in sets}
    return Found(pairs, notes)


def _pair(tree: Tree, split: str, found: Iterable[_Placed], depth: int, files: ExitStack) -> Pair:
    """Open the pictures of a set. Order them so that every part of the set has all classes in equal proportion."""
    classes: dict[str, list[File]] = defaultdict(list)
    for folders, file in found:
        if len(folders) <= depth:
            raise InputError(file.name, "this picture is not in a folder of its class", hint=_FOLDERS)
        classes[folders[depth]].append(file)
    ordered = sorted(
        ((2 * place + 1) / (2 * len(members)), natural(name), name, file)
        for name, members in classes.items()
        for place, file in enumerate(sorted(members, key=lambda file: natural(file.path)))
    )
    name, album = f"the pictures of the {NAMED[split]} set in {tree.name}", Album(files)
    for *_, file in with_progress(ordered, name):
        with file.open() as content:
            album.add(file.name, content.read(MOST_BYTES + 1))
    numbers = all(label.isascii() and label.isdecimal() and len(label) < 10 for label in classes)
    labels = np.array([label for _, _, label, _ in ordered], np.int32 if numbers else str)
    return Pair(album.rows(name), held(f"the folders of {name}", labels))


def with_progress(items: Iterable[T], what: str, count: int | None = None) -> Iterable[T]:
    """Return the items, of which there are `count`, and show a progress bar if a person is watching."""
    return tqdm(items, f"reading {what}", count, leave=False, disable=not on_terminal())


class Album:
    """Pictures of one size, decoded into a temporary file. The album is grey unless a picture has colours."""

    def __init__(self, files: ExitStack) -> None:
        self._spool, self._coloured = Spool(files, np.uint8), False
        self._first, self._size = "", (0, 0)

    def add(self, name: str, content: bytes) -> None:
        """Decode and add a picture. Raise InputError if this fails, or if the first picture has another size."""
        pixels = decode(name, content)
        height, width = pixels.shape[:2]
        if not self._first:
            self._first, self._size = name, (height, width)
        if (height, width) != self._size:
            expected = f"{self._size[1]} x {self._size[0]} pixels, as {self._first}"
            hint = "Bring all pictures to one size."
            raise InputError(name, expected=expected, received=f"{width} x {height}", hint=hint)
        self._coloured = self._coloured or pixels.ndim == 3
        self._spool.write((pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))[np.newaxis])

    def rows(self, name: str) -> Rows:
        """Return the pictures as an array. `name` is the name of the array in messages."""
        rows = self._spool.rows(name, (*self._size, 3), np.uint8)
        if self._coloured:
            return rows
        return replace(rows, shape=rows.shape[:3], blocks=lambda: (block[..., 0] for block in rows.blocks()))


def decode(name: str, content: bytes) -> NDArray[np.uint8]:
    """Decode a picture to uint8: [height, width], or [height, width, 3] if it has colours. `name` is for messages.

    Raise InputError if it is damaged, too small, too large or transparent, or has 16 bits that do not fit into 8.
    """
    if not content or len(content) > MOST_BYTES:
        sentence = f"the picture has more than {MOST_BYTES} bytes" if content else "the file is empty"
        raise InputError(name, sentence, hint=_SAVE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about harmless damage, or about sizes, which `_open` checks
        picture = _open(name, content)
        try:
            kept = picture if picture.mode in _DEEP else picture.convert("L" if picture.mode in _GREY else "RGBA")
            values = np.asarray(kept)
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError, MemoryError) as error:
            raise InputError(name, f"the picture is damaged ({error})", hint=_SAVE) from None
    if picture.mode in _GREY:
        return values
    if picture.mode in _DEEP:
        low = values.astype(np.int64) // 257  # 257 times an 8-bit level has these 8 bits twice
        if (values != 257 * low).any() or low.min() < 0 or low.max() > 255:
            raise InputError(name, "the picture has 16 bits, which do not fit into 8", hint=_SAVE)
        return low.astype(np.uint8)
    if values[..., 3].min() < 255:
        raise InputError(name, "the picture is transparent", hint=_SAVE)
    colours = values[..., :3]
    return colours[..., 0] if (colours == colours[..., :1]).all() else colours


def _open(name: str, content: bytes) -> Image.Image:
    """Open a picture without decoding it. Raise InputError if its format, size or mode is not allowed."""
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception:  # Pillow raises many kinds of errors for a damaged file
        raise InputError(name, f"this is not a picture, or a damaged one ({', '.join(FORMATS)})", hint=_SAVE) from None
    if not all(SHORTEST <= side <= LONGEST for side in picture.size):
        received = f"{picture.size[0]} x {picture.size[1]} pixels"
        expected, hint = f"a picture of {SHORTEST} to {LONGEST} pixels a side", "Bring all pictures to one such size."
        raise InputError(name, expected=expected, received=received, hint=hint)
    if picture.mode not in (*_GREY, *_COLOUR, *_DEEP):
        raise InputError(name, f"pictures of the mode {picture.mode} cannot be read", hint=_SAVE)
    return picture
