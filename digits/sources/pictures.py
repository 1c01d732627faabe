"""Pictures as files, PNG and the like: decoded within bounds, and data sets with a folder of them for each class."""

import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from digits.data.arrays import BLOCK_BYTES
from digits.data.dataset import LONGEST, SHORTEST
from digits.sources.kinds import PICTURE
from digits.sources.parts import Found, Pair
from digits.sources.roles import NAMED, TEST, TRAIN, VALIDATION, natural, split_of
from digits.sources.stream import Held, Values, wrong
from digits.sources.tree import File, Tree
from dvcproof.runtime.program import on_terminal

#: What Pillow may read. The rest of what it knows is rare, and PostScript would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

#: Bytes of the largest picture: one of 128 x 128 pixels in colour has 48 KiB unpacked.
MOST_BYTES = 2**20

_GREY, _COLOUR = ("1", "L"), ("RGB", "P", "PA", "LA", "RGBA")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")

_FORM = "Put the pictures into train/CLASS/ and test/CLASS/, or into CLASS/ with `load.test_size` in params.yaml."

#: A file, and the folders that it is in, below that of its set.
_Placed = tuple[tuple[str, ...], File]

#: A picture's name for messages, and its bytes.
Encoded = Iterator[tuple[str, bytes]]


class Pictures:
    """Encoded pictures as an array, uint8 [n, height, width] or [n, height, width, 3]: decoded when rows are read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, name: str, count: int, encoded: Callable[[], Encoded]) -> None:
        """Look at all pictures.

        Args:
            name: of all of them, for messages.
            count: how many there are.
            encoded: gives them, again and again.

        Raises:
            InputError: one is no picture, or they differ in size.
        """
        self.name, self._encoded = name, encoded
        size, colour = (0, 0), False
        first = ""
        for title, content in _progress(encoded(), count, f"looking at {name}"):
            found, coloured = _look(title, content, sure=colour)
            first, size = (first, size) if first else (title, found)
            colour |= coloured
            if found != size:
                hint = "Bring all pictures to one size."
                raise wrong(title, f"{size[0]} x {size[1]} pixels, as {first}", f"{found[0]} x {found[1]}", hint=hint)
        self.shape: tuple[int, ...] = (count, size[1], size[0], *((3,) if colour else ()))

    def require_size(self) -> None:
        """Nothing to refuse: every picture was looked at."""

    def rows(self) -> Iterator[Values]:
        """The pictures in blocks of at most BLOCK_BYTES."""
        row = self.shape[1:]
        step, block = max(1, BLOCK_BYTES // int(np.prod(row))), []
        for title, content in _progress(self._encoded(), self.shape[0], f"reading {self.name}"):
            picture = decode(title, content)
            block.append(np.broadcast_to(picture[..., None], row) if picture.ndim < len(row) else picture)
            if len(block) == step:
                yield np.stack(block)
                block = []
        if block:
            yield np.stack(block)


def find(tree: Tree) -> Found | None:
    """The folders of pictures of a source, if it has any.

    Raises:
        InputError: the folders are not those of classes, or there is something else in them.
    """
    if not tree.of_kind(PICTURE):
        return None
    sets: dict[str | None, list[_Placed]] = defaultdict(list)
    for folders, files in _folders(tree).items():
        place = next((k for k, folder in enumerate(folders) if split_of(folder)), None)
        split = None if place is None else split_of(folders[place])
        sets[split] += [(folders if place is None else folders[place + 1 :], file) for file in files]
    left_out = sets.pop(VALIDATION, [])
    notes = [f"{tree.name}: {len(left_out)} pictures of a validation set not used"] if left_out else []
    if TRAIN not in sets:
        if None not in sets:
            raise wrong(tree.name, "a folder `train` beside `test`", "no such folder", hint=_FORM)
        sets[TRAIN] = sets.pop(None)
    depth = _shared([folders for folders, _ in sets[TRAIN]])
    pairs = {split: _pair(tree, split, sets[split], depth) for split in (TRAIN, TEST) if split in sets}
    return Found(pairs, notes)


def _folders(tree: Tree) -> dict[tuple[str, ...], list[File]]:
    """The files in each folder that has a picture. A list or a licence beside such folders is none."""
    found: dict[tuple[str, ...], list[File]] = defaultdict(list)
    for file in tree.files:
        found[PurePosixPath(file.path).parts[:-1]].append(file)
    return {folders: files for folders, files in found.items() if any(file.kind == PICTURE for file in files)}


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders all paths begin with."""
    first, last = min(paths), max(paths)
    return next(
        (k for k, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), min(len(first), len(last))
    )


def _pair(tree: Tree, split: str, found: Iterable[_Placed], depth: int) -> Pair:
    """A set: its pictures so ordered that every part of it has all classes in their shares."""
    classes: dict[str, list[File]] = defaultdict(list)
    for folders, file in found:
        if len(folders) <= depth:
            raise wrong(file.name, "a folder for each class", "a picture beside them", hint=_FORM)
        classes[folders[depth]].append(file)
    ordered = sorted(
        ((2 * place + 1) / (2 * len(files)), natural(name), name, file)
        for name, files in classes.items()
        for place, file in enumerate(sorted(files, key=lambda file: natural(file.path)))
    )
    name = f"the pictures of the {NAMED[split]} set in {tree.name}"
    files = [file for *_, file in ordered]
    pictures = Pictures(name, len(files), lambda: ((file.name, _content(file)) for file in files))
    labels = [label for _, _, label, _ in ordered]
    numbers = all(label.isascii() and label.isdecimal() and len(label) < 10 for label in classes)
    return Pair(pictures, Held(f"the folders of {name}", np.array(labels, np.int32 if numbers else str)))


def _content(file: File) -> bytes:
    with file.open() as content:
        return content.read(MOST_BYTES + 1)


def _progress(encoded: Encoded, count: int, what: str) -> Encoded:
    """Pictures that pass by, with a bar for who watches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of harmless damage, and of sizes, which are checked here
        yield from tqdm(encoded, desc=what, total=count, unit=" pictures", leave=False, disable=not on_terminal())


def _open(name: str, content: bytes) -> Image.Image:
    """Open a picture, decoding nothing.

    Raises:
        InputError: it is none, or one of another size or mode.
    """
    expected = f"a picture ({', '.join(FORMATS)}) of {SHORTEST} to {LONGEST} pixels a side, grey or in colour"
    hint = "Save it again as PNG of such a size, or move it elsewhere."
    if len(content) > MOST_BYTES:
        raise wrong(name, f"at most {MOST_BYTES} bytes", "a larger file", hint=hint)
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise wrong(name, expected, "another file" if content else "an empty file", hint=hint) from None
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise wrong(name, expected, f"a damaged file ({error})", hint=hint) from None
    if not all(SHORTEST <= side <= LONGEST for side in picture.size):
        raise wrong(name, expected, f"{picture.size[0]} x {picture.size[1]} pixels", hint=hint)
    if picture.mode not in (*_GREY, *_COLOUR, *_DEEP):
        raise wrong(name, expected, f"one of mode {picture.mode}", hint=hint)
    return picture


def _look(name: str, content: bytes, *, sure: bool) -> tuple[tuple[int, int], bool]:
    """Width and height of a picture, and whether it has colours; not if it is `sure` that another has."""
    picture = _open(name, content)
    coloured = not sure and picture.mode in _COLOUR and decode(name, content).ndim == 3
    return picture.size, coloured


def decode(name: str, content: bytes) -> NDArray[np.uint8]:
    """Decode a picture.

    Args:
        name: what it is called in messages.
        content: its bytes.

    Returns:
        uint8 [height, width], or [height, width, 3] if it has colours.

    Raises:
        InputError: it is none, damaged, of another size, transparent, or of 16 bits that do not fit into 8.
    """
    picture = _open(name, content)
    hint = "Save it again as PNG, grey or in colour, with 8 bits and without transparency, or move it elsewhere."
    try:
        if picture.mode in _GREY:
            return np.asarray(picture.convert("L"))
        if picture.mode in _DEEP:
            return _eight_bits(name, np.asarray(picture), hint)
        values = np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError, MemoryError) as error:
        raise wrong(name, "a picture", f"a damaged file ({error})", hint=hint) from None
    if values[..., 3].min() < 255:
        raise wrong(name, "a picture that covers its background", "a transparent one", hint=hint)
    colours = values[..., :3]
    grey = (colours == colours[..., :1]).all()
    return colours[..., 0] if grey else colours


def _eight_bits(name: str, values: NDArray[np.generic], hint: str) -> NDArray[np.uint8]:
    """Sixteen bits as eight, if every value is one of eight bits twice: 257 times it."""
    low = values.astype(np.int64) // 257
    if (values != 257 * low).any() or low.min() < 0 or low.max() > 255:
        raise wrong(name, "a picture of 8 bits", "one of 16 bits", hint=hint)
    return low.astype(np.uint8)
