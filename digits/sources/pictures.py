"""Data sets as pictures, PNG and the like, in a folder for each class; and a decoder within bounds."""

import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from os.path import commonprefix
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from digits.data.dataset import LONGEST, SHORTEST
from digits.sources.recognize import NAMED, PICTURE, TEST, TRAIN, VALIDATION, natural, split_of
from digits.sources.rows import Found, Pair, Rows, Spool, held
from digits.sources.tree import File, Tree
from dvcproof.runtime.program import InputError, on_terminal

#: What Pillow may read. The rest of what it knows is rare, and PostScript would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

#: Bytes of the largest picture: one of 128 x 128 pixels in colour has 48 KiB unpacked.
MOST_BYTES = 2**20

_GREY, _COLOUR, _DEEP = ("1", "L"), ("RGB", "P", "PA", "LA", "RGBA"), ("I;16", "I;16B", "I;16L", "I;16N", "I")

_FOLDERS = "Put the pictures into train/CLASS/ and test/CLASS/, or into CLASS/ with `load.test_size` in params.yaml."
_SAVE = "Save it again as PNG of 8 bits, grey or in colour, without transparency, or move it elsewhere."

#: A file, and the names of its folders below the folder of its set.
_Placed = tuple[tuple[str, ...], File]

#: Reads pictures, each with the name that messages give it.
Encoded = Callable[[], Iterator[tuple[str, bytes]]]


def find(tree: Tree, files: ExitStack) -> Found | None:
    """Find the folders of pictures of a source, if it has any."""
    if not tree.of_kind(PICTURE):
        return None
    sets: dict[str | None, list[_Placed]] = defaultdict(list)
    for folders, found in _folders(tree).items():
        place = next((k for k, folder in enumerate(folders) if split_of(folder)), -1)
        sets[split_of(folders[place]) if place >= 0 else None] += [(folders[place + 1 :], file) for file in found]
    left_out = sets.pop(VALIDATION, [])
    notes = [f"{tree.name}: {len(left_out)} pictures of a validation set not used"] if left_out else []
    if TRAIN not in sets and None not in sets:
        raise InputError(tree.name, "there is a folder `test` without a folder `train` beside it", hint=_FOLDERS)
    sets.setdefault(TRAIN, sets.pop(None, []))
    depth = len(commonprefix([folders for folders, _ in sets[TRAIN]]))  # noqa: RUF071 # of tuples, it compares items
    pairs = {split: _pair(tree, split, sets[split], depth, files) for split in (TRAIN, TEST) if split in sets}
    return Found(pairs, notes)


def _folders(tree: Tree) -> dict[tuple[str, ...], list[File]]:
    """Return the files of each folder that has a picture; a list or a licence beside such folders is ignored."""
    found: dict[tuple[str, ...], list[File]] = defaultdict(list)
    for file in tree.files:
        found[PurePosixPath(file.path).parts[:-1]].append(file)
    return {folders: files for folders, files in found.items() if any(file.kind == PICTURE for file in files)}


def _pair(tree: Tree, split: str, found: Iterable[_Placed], depth: int, files: ExitStack) -> Pair:
    """Open a set, with its pictures in an order in which every part of it has all classes in their shares."""
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
    name = f"the pictures of the {NAMED[split]} set in {tree.name}"
    images = open_pictures(name, len(ordered), lambda: ((file.name, _content(file)) for *_, file in ordered), files)
    numbers = all(label.isascii() and label.isdecimal() and len(label) < 10 for label in classes)
    labels = np.array([label for _, _, label, _ in ordered], np.int32 if numbers else str)
    return Pair(images, held(f"the folders of {name}", labels))


def _content(file: File) -> bytes:
    with file.open() as content:
        return content.read(MOST_BYTES + 1)


def open_pictures(name: str, count: int, encoded: Encoded, files: ExitStack) -> Rows:
    """Decode pictures through a Spool, which `files` closes; messages call all `count` of them `name`."""
    for channels in ((), (3,)):
        spool, first, size = Spool(files), "", (0, 0)
        for title, content in _progress(encoded, count, f"reading {name}"):
            pixels = decode(title, content)
            if pixels.ndim == 3 and not channels:
                break  # and begin again, in colour
            height, width = pixels.shape[:2]
            first, size = (first, size) if first else (title, (height, width))
            if (height, width) != size:
                expected, hint = f"{size[1]} x {size[0]} pixels, as {first}", "Bring all pictures to one size."
                raise InputError(title, expected=expected, received=f"{width} x {height}", hint=hint)
            spool.write(np.repeat(pixels[..., None], 3, axis=2) if channels and pixels.ndim == 2 else pixels)
        else:
            break
    row = (*size, *channels)
    return Rows(name, np.dtype(np.uint8), (count, *row), partial(spool.blocks, np.uint8, row))


def _progress(encoded: Encoded, count: int, what: str) -> Iterator[tuple[str, bytes]]:
    """Show a progress bar to a person while pictures are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about harmless damage, and about sizes, which are checked here
        yield from tqdm(encoded(), desc=what, total=count, unit=" pictures", leave=False, disable=not on_terminal())


def _open(name: str, content: bytes) -> Image.Image:
    """Open a picture of an allowed size and mode without decoding it."""
    if not content or len(content) > MOST_BYTES:
        sentence = f"the picture has more than {MOST_BYTES} bytes" if content else "the file is empty"
        raise InputError(name, sentence, hint=_SAVE)
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception:  # Pillow raises many kinds for a damaged file
        raise InputError(name, f"this is not a picture, or a damaged one ({', '.join(FORMATS)})", hint=_SAVE) from None
    if not all(SHORTEST <= side <= LONGEST for side in picture.size):
        received = f"{picture.size[0]} x {picture.size[1]} pixels"
        expected, hint = f"a picture of {SHORTEST} to {LONGEST} pixels a side", "Bring all pictures to one such size."
        raise InputError(name, expected=expected, received=received, hint=hint)
    if picture.mode not in (*_GREY, *_COLOUR, *_DEEP):
        raise InputError(name, f"pictures of the mode {picture.mode} cannot be read", hint=_SAVE)
    return picture


def decode(name: str, content: bytes) -> NDArray[np.uint8]:
    """Decode a picture, which messages call `name`, to uint8 [height, width], or [height, width, 3] if it has colours.

    It is refused if it is transparent, or if its values have 16 bits that do not fit into 8.
    """
    picture = _open(name, content)
    try:
        if picture.mode in _GREY:
            return np.asarray(picture.convert("L"))
        values = np.asarray(picture) if picture.mode in _DEEP else np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError, MemoryError) as error:
        raise InputError(name, f"the picture is damaged ({error})", hint=_SAVE) from None
    if picture.mode in _DEEP:
        low = values.astype(np.int64) // 257  # eight bits stored twice: 257 times the level
        if (values != 257 * low).any() or low.min() < 0 or low.max() > 255:
            raise InputError(name, "the picture has 16 bits, which do not fit into 8", hint=_SAVE)
        return low.astype(np.uint8)
    if values[..., 3].min() < 255:
        raise InputError(name, "the picture is transparent", hint=_SAVE)
    colours = values[..., :3]
    return colours[..., 0] if (colours == colours[..., :1]).all() else colours
