"""Image files from outside, decoded within bounds of memory and time, or refused by what they are."""

import io
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from dvcproof.runtime.program import InputError

#: What Pillow may read. The rest of what it knows is rare, and PostScript would start another program.
register_heif_opener()
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "HEIF")

#: Modes with more than eight bits.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", *DEEP)

#: The largest picture, which takes up to 24 bytes a pixel. A telephone's HEIF takes 9, and a camera's JPEG of 48
#: megapixels is decoded at a smaller size.
MAX_PIXELS = 16 * 10**6
MAX_HEIF_PIXELS = 25 * 10**6
MAX_JPEG_PIXELS = 50 * 10**6

#: How often Pillow may read from a file, and the passes over the picture in a progressive JPEG: some ten are usual.
MAX_READS = 2**18
MAX_SCANS = 50

#: Codecs that Pillow has in Python, slow ones, and the bytes of the largest file for them.
SLOW_CODECS = ("bmp_rle", "ppm", "ppm_plain")
MAX_SLOW_BYTES = 2**21

#: A marker of JPEG: not a byte 0xff of the data, and no restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

#: A JPEG file is decoded at a fraction of its size, at which its longer side has at least so many pixels.
DRAFT_SIDE = 500


def decode(name: str, content: bytes) -> Image.Image:
    """Decode an image file, the first picture of several, and turn it upright as its EXIF data say.

    Returns:
        A picture of eight bits a channel, in any of MODES but those of DEEP.

    Raises:
        InputError: the bytes are no image that can be read.
    """
    largest = [most // 10**6 for most in (MAX_PIXELS, MAX_HEIF_PIXELS, MAX_JPEG_PIXELS)]
    sizes = f"{largest[0]} megapixels, {largest[1]} as HEIF or {largest[2]} as JPEG"
    expected = f"an image ({', '.join(FORMATS)}) of at most {sizes}"
    hint = "Save the picture again, smaller or as PNG."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of harmless damage, and of sizes, which are checked here
            with Image.open(_Readings(content), formats=FORMATS) as picture:
                received = _too_much(picture, content)
                if not received:
                    picture.draft(None, (DRAFT_SIDE, DRAFT_SIDE))  # a JPEG file need not be decoded in full
                    with _silent() if picture.format == "TIFF" else nullcontext():
                        return _in_eight_bits(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        received, hint = foreign(content) if content else ("an empty file", _AGAIN)
    except Exception as error:  # Pillow raises many kinds for a damaged file
        received = f"a damaged file ({error})"
    raise InputError(name, expected=expected, received=received, hint=hint)


class _Readings(io.BytesIO):
    """The bytes of a file, for a reader that does not begin again and again: each chunk or comment takes time."""

    left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ValueError("of too many parts")
        return super().read(size)


def _too_much(picture: Image.Image, content: bytes) -> str:
    """Why an opened picture is not decoded: what it is, or nothing if it may be."""
    jpeg = picture.format in ("JPEG", "MPO")
    largest = MAX_JPEG_PIXELS if jpeg else MAX_HEIF_PIXELS if picture.format == "HEIF" else MAX_PIXELS
    if math.prod(picture.size) > largest or picture.mode not in MODES:
        return f"one of {picture.size[0]} x {picture.size[1]} pixels, mode {picture.mode}"
    if jpeg and _scans(content) > MAX_SCANS:
        return f"one with more than {MAX_SCANS} scans"
    if picture.format == "TIFF" and "jpeg" in str(picture.info.get("compression")):  # with scans that are not counted
        return "a TIFF with JPEG in it"
    codecs = {tile[0] for tile in getattr(picture, "tile", ())}
    if len(content) > MAX_SLOW_BYTES and codecs.intersection(SLOW_CODECS):
        return f"a {picture.format} file of more than {MAX_SLOW_BYTES // 2**20} MiB in a rare coding"
    return ""


def _scans(content: bytes) -> int:
    """The scans of a JPEG file, counted up to MAX_SCANS + 1."""
    place, scans = 2, 0
    while scans <= MAX_SCANS and (found := _MARKER.search(content, place)):
        if found[0][1] == _END_OF_IMAGE:
            break
        scans += found[0][1] == _START_OF_SCAN
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    return scans


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """No file with more bits says which level is white: black and white are the extremes found."""
    if picture.mode not in DEEP:
        return picture
    levels = np.nan_to_num(np.asarray(picture, np.float64), posinf=0, neginf=0)
    levels -= levels.min()
    return Image.fromarray((levels * (255 / max(levels.max(), 1e-9))).astype(np.uint8))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep a C library from writing on standard error: libtiff reports what Pillow raises, too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


#: How files begin that are given for pictures, what they are, and what to do.
_DATA = "To train on it, name its data set in params.yaml, load.source. To read an image in it, save that as PNG."
_AGAIN = "Save the picture again, as PNG."
_BEGINNINGS = [
    (re.compile(rb"(?:\xef\xbb\xbf)?" + beginning, re.DOTALL | re.IGNORECASE), name, hint)
    for beginning, name, hint in (
        (rb"%PDF", "a PDF document", "Save its page as PNG."),
        (rb"\x93NUMPY", "a NumPy array", _DATA),
        (rb"PK.{,200}\.npy", "NumPy arrays (.npz)", _DATA),
        (rb"PK", "a ZIP archive", "Unpack it, and give the pictures in it."),
        (rb"\x1f\x8b", "a gzip archive", "Unpack it first."),
        (rb"\x00\x00\x08", "an IDX file", _DATA),
        (rb"version https://git-lfs", "a Git LFS pointer", "Run `git lfs pull` in its repository."),
        (rb"\s*<(?:!doctype )?html", "a web page", "Save the picture itself."),
        (rb".{,2000}<svg", "an SVG drawing", "Export it as PNG from the program that drew it."),
        (rb"\s*[{\[]", "a JSON document", _AGAIN),
        (rb"\s*[ -~\t]*[,;\t][ -~\t]*\r?(?:\n|$)", "a table (CSV)", _DATA),
    )
]


def foreign(content: bytes) -> tuple[str, str]:
    """What a file is that is no picture, and the next step.

    Args:
        content: its bytes, at least one.
    """
    known = ((name, hint) for beginning, name, hint in _BEGINNINGS if beginning.match(content, 0, 4000))
    return next(known, ("another file", _AGAIN))
