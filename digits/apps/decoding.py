"""Decode image files within limits of memory and time. Messages name the kind of a file that is not an image."""

import io
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from digits.sources.recognize import GZIP, HEAD_BYTES, PICTURE, TAR, UNKNOWN, ZIP, Foreign, kind_of
from dvcproof.runtime.program import InputError

#: The formats that Pillow may open. Its other formats are rare, and PostScript would start another program.
register_heif_opener()
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "HEIF")

#: Modes of Pillow with more than eight bits per channel, and all allowed modes.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", *DEEP)

#: The most megapixels of a picture, and the exceptions by format. Decoding takes up to 24 bytes per pixel. The HEIF of
#: a telephone takes only 9, and the JPEG of a camera, of 48 megapixels, is decoded at a reduced size.
MEGAPIXELS = 16
MEGAPIXELS_OF = {"HEIF": 25, "JPEG": 50, "MPO": 50}

#: Limits against files whose decoding takes minutes: reads from the file, one per chunk; scans of a progressive JPEG,
#: which usually has about ten; and bytes for the decoders that are written in Python.
MAX_READS = 2**18
MAX_SCANS, START_OF_SCAN = 50, b"\xff\xda"
MAX_SLOW_BYTES, SLOW_DECODERS = 2**21, {"bmp_rle", "ppm", "ppm_plain"}

#: Decode a JPEG at the smallest fraction of its size whose longer side has at least this many pixels.
DRAFT_SIDE = 500

#: Files that people give instead of pictures and that `kind_of` does not know: first bytes, name, and next step.
_DOCUMENTS = (
    (rb"%PDF", "a PDF document", "Save its page as PNG."),
    (rb".{,2000}<svg", "an SVG drawing", "Export it as PNG from the program that drew it."),
)


def decode(name: str, content: bytes) -> Image.Image:
    """Decode the first picture in an image file to eight bits per channel, upright according to its EXIF data.

    Raise InputError if the file is not an image, or is damaged or too large.
    """
    hint = "Save the picture again, smaller or as PNG."
    try:
        with (
            _quiet(),  # warnings are about harmless damage, or about sizes, which `_excess` checks
            Image.open(_LimitedReads(content), formats=FORMATS) as picture,
        ):
            problem = _excess(picture, content)
            if not problem:
                picture.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
                return _in_eight_bits(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        kind, hint = _other_kind(content[:HEAD_BYTES])
        problem = f"the file is {kind}"
    except Image.DecompressionBombError:
        problem = f"the picture has far more than {MEGAPIXELS} megapixels"
    except Exception as error:  # Pillow raises many kinds of errors for a damaged file
        problem = f"the file is damaged ({error})"
    raise InputError(name, problem, hint=hint)


def _other_kind(head: bytes) -> tuple[str, str]:
    """Return the kind of a file that is not a picture, in words, and the next step."""
    for start, words, hint in _DOCUMENTS:
        if re.match(start, head, re.DOTALL):
            return words, hint
    kind = kind_of(head)
    if isinstance(kind, Foreign) and kind != UNKNOWN:
        return kind
    if kind in (GZIP, ZIP, TAR):
        return "an archive", "Unpack it, and name the pictures in it."
    if kind in (UNKNOWN, PICTURE):
        return f"not an image in one of the formats {', '.join(FORMATS)}", "Save the picture again, as PNG."
    hint = "To train on it, set `load.source` in params.yaml to this file. To read an image in it, save that as PNG."
    return f"a data set in the form {kind}", hint


class _LimitedReads(io.BytesIO):
    """The bytes of a file. After MAX_READS calls, `read` raises ValueError."""

    left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it has too many parts")
        return super().read(size)


def _excess(picture: Image.Image, content: bytes) -> str:
    """Return why an opened picture would take too much time or memory to decode; empty: it would not."""
    megapixels = MEGAPIXELS_OF.get(str(picture.format), MEGAPIXELS)
    if math.prod(picture.size) > megapixels * 10**6:
        return f"the picture has {picture.width} x {picture.height} pixels, more than {megapixels} megapixels"
    if picture.mode not in MODES:
        return f"the picture has the mode {picture.mode}, which is not supported"
    jpeg = picture.format in ("JPEG", "MPO") or "jpeg" in str(picture.info.get("compression"))
    if jpeg and content.count(START_OF_SCAN) > MAX_SCANS:
        return f"the JPEG file has more than {MAX_SCANS} scans"
    if len(content) > MAX_SLOW_BYTES and not SLOW_DECODERS.isdisjoint(tile[0] for tile in getattr(picture, "tile", ())):
        return f"a {picture.format} file with this encoding must be smaller than {MAX_SLOW_BYTES // 2**20} MiB"
    return ""


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Convert a picture with more bits to eight bits: scale its darkest level to 0 and its brightest to 255.

    Such files do not tell which levels are black and white.
    """
    if picture.mode not in DEEP:
        return picture
    levels = np.nan_to_num(np.asarray(picture, np.float64), posinf=0, neginf=0)
    levels -= levels.min()
    return Image.fromarray((levels * (255 / max(levels.max(), 1e-9))).astype(np.uint8))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings and standard error inside this block. libtiff prints errors there that Pillow also raises."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
