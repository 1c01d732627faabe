"""Pictures of digits in MNIST's form, made as MNIST was made: 20 x 20 pixels of ink, centred by mass in 28 x 28."""

import io
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from digits.common.cli import InputError

FIELD = 28
BOX = 20

#: What Pillow may read. The rest of what it knows is rare, and PostScript would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

#: Modes with more than eight bits. No file says which level is white, so black and white are the extremes found.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", *DEEP)

#: The largest picture, which takes up to 24 bytes a pixel. A camera's JPEG of 48 megapixels is decoded at a smaller
#: size.
MAX_PIXELS = 16 * 10**6
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

#: A longer side is brought to this many pixels first, which is quick and averages noise away.
WORKING_SIDE = 500

#: Ink must differ from its background by at least so many of 255 levels, and by so many times the background's median
#: deviation (5.4 standard deviations of grey noise, if it is normal).
LEAST_CONTRAST = 24
NOISE = 8


def read_digit(name: str, content: bytes) -> NDArray[np.uint8]:
    """Bring an image file with one digit to MNIST's form.

    Args:
        name: what the file is called in messages.
        content: its bytes.

    Returns:
        uint8 [28, 28], 255 is ink.

    Raises:
        InputError: the bytes are no image that can be read, or there is no ink in it.
    """
    digit = to_digit(decode(name, content))
    if not digit.any():
        raise InputError(
            name,
            expected="a digit, darker or lighter than its background",
            received="no ink",
            hint="Draw with a thicker or darker pen.",
        )
    return digit


def decode(name: str, content: bytes) -> Image.Image:
    """Decode an image file, the first picture of several, and turn it upright as its EXIF data say.

    Raises:
        InputError: the bytes are no image that can be read.
    """
    largest = f"{MAX_PIXELS // 10**6} megapixels, or {MAX_JPEG_PIXELS // 10**6} as JPEG"
    expected = f"an image ({', '.join(FORMATS)}) of at most {largest}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of harmless damage, and of sizes, which are checked here
            with Image.open(_Readings(content), formats=FORMATS) as picture:
                received = _too_much(picture, content)
                if not received:
                    picture.draft(None, (WORKING_SIDE, WORKING_SIDE))  # a JPEG file need not be decoded in full
                    with _silent() if picture.format == "TIFF" else nullcontext():
                        return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        received = "another file" if content else "nothing"
    except Exception as error:  # Pillow raises many kinds for a damaged file
        received = f"a damaged file ({error})"
    raise InputError(name, expected=expected, received=received, hint="Save the picture again, as PNG.")


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
    if math.prod(picture.size) > (MAX_JPEG_PIXELS if jpeg else MAX_PIXELS) or picture.mode not in MODES:
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


def to_digit(picture: Image.Image) -> NDArray[np.uint8]:
    """Bring a picture of one digit to MNIST's form, as its makers describe it.

    The digit is scaled into a box of 20 x 20 pixels with its proportions kept, which gives grey levels by
    anti-aliasing, and moved so that its centre of mass is the centre of a field of 28 x 28 (Y. LeCun, C. Cortes and
    C. J. C. Burges, The MNIST database of handwritten digits).

    Args:
        picture: of any size and of any of MODES, dark on light or light on dark. Nothing but the digit and a background
            that is plain, transparent, or paper in uneven light.

    Returns:
        uint8 [28, 28], 255 is ink. All zero: there is none.
    """
    strength = ink(contrast(picture))
    return centre(fit(strength)) if strength.any() else np.zeros((FIELD, FIELD), np.uint8)


def contrast(picture: Image.Image) -> NDArray[np.float32]:
    """How much each pixel differs from the background, in the colour that differs most, but 0 where this may be noise.

    Returns:
        float32 [h, w] in 0 .. 255.
    """
    pixels = np.asarray(_reduced(picture), np.float32)
    if pixels.shape[2] == 4:
        pixels, opacity = pixels[..., :3], pixels[..., 3]
        visible = pixels[opacity > 127]
        # In one colour, it is the opacity that shows the digit. Else what can be seen is paper with a digit on it, and
        # where it is cut off, the paper goes on.
        if len(visible) < opacity.size:
            if len(visible) < opacity.size / 2 or np.ptp(visible, axis=0).max() < LEAST_CONTRAST:
                return opacity
            pixels = np.where(opacity[..., None] > 127, pixels, np.median(visible, axis=0))
    difference = np.abs(pixels - background(pixels)).max(axis=2)
    return np.where(difference > NOISE * np.median(_edge(difference)), difference, 0)


def _reduced(picture: Image.Image) -> Image.Image:
    """The picture in RGB, or in RGBA if anything is transparent, its longer side at most WORKING_SIDE."""
    if picture.mode in DEEP:
        levels = np.asarray(picture, np.float64)
        levels = np.where(np.isfinite(levels), levels, 0)
        levels -= levels.min()
        picture = Image.fromarray((levels * (255 / max(levels.max(), 1e-9))).astype(np.uint8))
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE))
    return picture


def background(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The plane through the colours at the edge, for paper in uneven light is brighter on one side.

    Fitted by least squares three times, each time without what is far off the plane before: a digit may touch the edge.

    Args:
        pixels: [h, w, 3].

    Returns:
        [h, w, 3].
    """
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    terms = np.stack([np.ones_like(x), x / width, y / height], axis=2)
    edge_terms, edge = _edge(terms), _edge(pixels)
    plane = np.stack([np.median(edge, axis=0), np.zeros(3), np.zeros(3)]).astype(np.float32)
    for _ in range(3):
        distance = np.abs(edge - edge_terms @ plane).max(axis=1)
        near = distance <= max(4 * np.median(distance), 1)
        plane = np.linalg.lstsq(edge_terms[near], edge[near], rcond=None)[0]
    return terms @ plane


def _edge(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stands at the edge of [h, w, ...]: [n, ...]."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def ink(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where there is ink and how much, from 0 to 1.

    Otsu's threshold cuts the levels into background and ink. Full ink is the mean of the latter, and what is under half
    of the threshold is none: blur, and the traces of JPEG (N. Otsu, A threshold selection method from gray-level
    histograms, IEEE Transactions on Systems, Man, and Cybernetics 9, 1979).

    Args:
        contrast: [h, w] in 0 .. 255.

    Returns:
        [h, w]. All zero: nothing stands out from the background.
    """
    threshold = otsu(contrast)
    above = contrast[contrast > threshold]
    full = float(above.mean()) if len(above) else 0.0
    if full < LEAST_CONTRAST:
        return np.zeros_like(contrast)
    return np.where(contrast > threshold / 2, np.minimum(contrast / full, 1), 0)


def otsu(levels: NDArray[np.float32]) -> int:
    """The level in 0 .. 255 that parts levels of any shape into two classes with the greatest variance between them."""
    share = np.bincount(levels.astype(np.uint8).ravel(), minlength=256) / levels.size
    below = share.cumsum()
    mean_below = (share * np.arange(256)).cumsum()
    product = below * (1 - below)
    between = np.zeros(256)
    np.divide((mean_below[-1] * below - mean_below) ** 2, product, out=between, where=product > 1e-12)
    return int(between.argmax())


def fit(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut out the ink and scale it to 20 pixels in its longer side.

    Args:
        ink: [h, w] in [0, 1], with some ink.

    Returns:
        [h, w] in [0, 1], the longer of the two 20. The darkest pixel is 1: a thin line would else become a faint one.
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    box = np.asarray(Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR))
    return box / box.max()


def centre(box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Move the centre of mass to the middle of the field, to pixel 14 as in MNIST, but nothing over the edge.

    Args:
        box: [h, w] in [0, 1], neither longer than 28.

    Returns:
        uint8 [28, 28], 255 is ink.
    """
    place = []
    for axis in (0, 1):
        mass = box.sum(axis=1 - axis)
        mean = float(mass @ np.arange(len(mass)) / mass.sum())
        shift = math.floor(FIELD / 2 + 0.5 - mean)
        start = min(max(shift, 0), FIELD - len(mass))
        place.append(slice(start, start + len(mass)))
    field = np.zeros((FIELD, FIELD), np.uint8)
    field[place[0], place[1]] = np.rint(box * 255)
    return field
