"""Image files are decoded within limits, or refused with a message that names their kind."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from digits.apps.decoding import FORMATS, decode
from digits.apps.handwriting import prepare
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.pictures import difference, file, plain, to_digit


@pytest.mark.fast(2)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_whatever_the_name(kind: str) -> None:
    drawing = plain().convert("RGB")
    (digit,) = prepare("a.jpg", file(drawing, kind), sample_dataset()).images
    assert np.abs(digit.astype(int) - to_digit(drawing)).mean() < 1.5


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_a_camera(orientation: int) -> None:
    turn = Image.Transpose
    back = [turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE, turn.ROTATE_90]
    stored = plain(7)
    if orientation > 1:
        stored = stored.transpose([*back, turn.TRANSVERSE, turn.ROTATE_270][orientation - 2])
        assert difference(decode("a.jpg", file(stored, "JPEG")), digit=7) > 10  # without EXIF data it lies on its side
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(decode("a.jpg", file(stored, "JPEG", quality=95, exif=exif)), digit=7) < 1


def scans(count: int) -> bytes:
    content = file(plain(), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def raw(maximum: int) -> bytes:
    return b"P6 1000 900 %d\n" % maximum + bytes(3 * 900 * 1000)


CHUNK = struct.pack(">I4s2sI", 2, b"tEXt", b"a\0", zlib.crc32(b"tEXta\0"))
DRAWING = file(plain())
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is an empty file. Fetch or copy it again"),
    "text": (b"seven", "the file is not an image in one of the formats PNG, JPEG, .*. Save"),
    "SVG": (b"<?xml version='1.0'?>\n<svg/>", "the file is an SVG drawing. Export it as PNG"),
    "PDF": (b"%PDF-1.7", "the file is a PDF document. Save its page as PNG"),
    "an array": (b"\x93NUMPY\x01\x00", "the file is a data set in the form npy. To train on it, set `load.source`"),
    "an archive": (b"PK\x03\x04", "the file is an archive. Unpack it"),
    "a web page": (b"<!DOCTYPE html><title>404</title>", "the file is a web page. Open the address in a browser"),
    "PostScript": (file(plain(), "EPS"), "the file is not an image in one of the formats"),
    "half a PNG": (DRAWING[: len(DRAWING) // 2], "the file is damaged"),
    "half a JPEG": (file(plain(), "JPEG")[:600], "the file is damaged"),
    "too many pixels": (file(Image.new("1", (3201, 5000))), "the picture has 3201 x 5000 pixels, more than 16 mega"),
    "a bomb": (file(Image.new("1", (20000, 20000))), "the picture has far more than 16 megapixels"),
    "many scans": (scans(100), "the JPEG file has more than 50 scans. Save the picture again, smaller or as PNG"),
    "many chunks": (DRAWING[:33] + CHUNK * 10**5 + DRAWING[33:], "the file is damaged .it has too many parts."),
    "a slow encoding": (raw(254), "a PPM file with this encoding must be smaller than 2 MiB"),
    "a rare mode": (file(Image.new("LAB", (9, 9)), "TIFF"), "the picture has the mode LAB, which is not supported"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    content, message = BAD[case]
    with pytest.raises(InputError, match=rf"^a\.png: {message}"):
        decode("a.png", content)


def test_what_is_just_within_the_limits() -> None:
    for content in (scans(30), raw(255), file(Image.new("L", (8000, 6000)), "JPEG")):  # the last as large as a photo
        decode("a", content)


def test_a_c_library_writes_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(file(plain(), "TIFF", compression="tiff_lzw"))
    damaged[20:60] = b"\xff" * 40
    with pytest.raises(InputError, match="the file is damaged"):
        decode("a.tiff", bytes(damaged))
    assert capfd.readouterr().err == ""
